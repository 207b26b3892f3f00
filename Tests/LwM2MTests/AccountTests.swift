import LwM2M
import Secrets
import Testing

@Suite("Accounts")
struct AccountTests {
    private static func vector(_ name: String) throws -> ObjectInstance {
        let vector = try #require(try Vector.all(11542).first { $0.name == name })
        guard case .instance(let instance) = try TLV.decode(vector.payload, at: vector.lwm2mPath) else {
            throw TLVVectorError()
        }
        return instance
    }
    private struct TLVVectorError: Error {}

    @Test("An account reads its resources")
    func reads() throws {
        let account = try SecurityAccount(Self.vector("tlv-inst-psk"))
        #expect(account.instanceID == 2)
        #expect(account.uri == "coaps://lwm2m.example.com:5684")
        #expect(!account.isBootstrapServer && account.securityMode == .preSharedKey)
        #expect(account.publicKeyOrIdentity == Array("urn:imei:350123456789012".utf8))
        #expect(account.secretKey == Secret([UInt8](0...15)))
        #expect(account.shortServerID == 1234)
        #expect(account.serverPublicKey == nil && account.oscoreLink == nil && account.accountTimeout == nil)
        let bootstrap = try SecurityAccount(Self.vector("tlv-inst-bootstrap-holdoff"))
        #expect(bootstrap.isBootstrapServer && bootstrap.clientHoldOff == 10 && bootstrap.accountTimeout == 0)
        #expect(bootstrap.shortServerID == nil)
        #expect(try SecurityAccount(Self.vector("tlv-inst-ciphersuites-signed")).cipherSuites == [0xC0A8, 0xAE])
        let link = ObjectLink(objectID: 21, instanceID: 0)
        #expect(try SecurityAccount(Self.vector("tlv-inst-oscore-link")).oscoreLink == link)
        #expect(try SecurityAccount(Self.vector("tlv-inst-oscore-null")).oscoreLink == nil)
        #expect(try SecurityAccount(Self.vector("tlv-inst-ssid-50000")).shortServerID == 50_000)
        let server = try ServerAccount(Self.vector("tlv-server-inst"))
        #expect(server.shortServerID == 1111 && server.lifetime == 86_400 && server.binding == "U")
        #expect(server.preferredTransport == nil && server.registrationPriority == nil)
    }

    @Test(
        "An account that nobody changes is the instance that it was made of",
        arguments: try Vector.all(11542).filter { $0.valid && $0.path.hasPrefix("/0/") && $0.meaning.nodes.count > 1 }
    )
    func unchanged(vector: Vector) throws {
        guard case .instance(let instance) = try TLV.decode(vector.payload, at: vector.lwm2mPath) else {
            Issue.record("not an instance")
            return
        }
        #expect(try SecurityAccount(instance).instance == instance)
    }

    @Test("Unknown resources stay in their place, byte for byte")
    func unknownResources() throws {
        var instance = try Self.vector("tlv-inst-nosec")
        let unknown = Resource(id: 3000, value: .multiple([ResourceInstance(id: 7, bytes: [1, 2, 3])]))
        instance.resources.insert(unknown, at: 1)
        var account = try SecurityAccount(instance)
        account.uri = "coaps://gateway.example:5684"
        account.securityMode = .preSharedKey
        account.publicKeyOrIdentity = [0x61]
        account.secretKey = Secret([9, 9])
        #expect(account.instance.resources.map(\.id) == [0, 3000, 1, 2, 3, 5, 10])
        #expect(account.instance.resources[1] == unknown)
        #expect(account.instance.resources[5].value == .single([9, 9]))
    }

    @Test("New resources go behind the next lower one, in whatever order the server writes")
    func insertionOrder() throws {
        var instance = try Self.vector("tlv-inst-wakaama-order")
        instance.resources.removeAll { $0.id == 3 || $0.id == 5 }
        #expect(instance.resources.map(\.id) == [0, 1, 10, 2])
        var account = try SecurityAccount(instance)
        account.secretKey = Secret([1])
        account.publicKeyOrIdentity = [1]
        account.serverPublicKey = []
        #expect(account.instance.resources.map(\.id) == [0, 1, 10, 2, 3, 4, 5])
        account.remove(3...5)
        #expect(account.secretKey == nil)
        #expect(account.instance.resources.map(\.id) == [0, 1, 10, 2])
    }

    @Test(
        "What makes no account is refused with its path",
        arguments: [
            ([0], 0, .missing), ([1], 1, .missing), ([2], 2, .missing), ([10], 10, .missing),
        ] as [([UInt16], UInt16, AccountError.Reason)]
    )
    func missing(removed: [UInt16], resource: UInt16, reason: AccountError.Reason) throws {
        var instance = try Self.vector("tlv-inst-nosec")
        instance.resources.removeAll { removed.contains($0.id) }
        let error = #expect(throws: AccountError.self) { try SecurityAccount(instance) }
        #expect(error?.resourceID == resource && error?.reason == reason)
    }

    @Test(
        "Values out of range are refused",
        arguments: [
            (2, [5]), (2, [0xFF]), (2, [1, 0]), (10, [0]), (10, [0, 0, 0xFF, 0xFF]), (10, [0xFF]), (10, [0, 1, 0, 0]),
            (1, [2]), (0, [0xFF]), (10, []),
        ] as [(UInt16, [UInt8])]
    )
    func invalid(resource: UInt16, value: [UInt8]) throws {
        var instance = try Self.vector("tlv-inst-nosec")
        let index = try #require(instance.resources.firstIndex { $0.id == resource })
        instance.resources[index].value = .single(value)
        let error = #expect(throws: AccountError.self) { try SecurityAccount(instance) }
        #expect(error?.resourceID == resource && error?.reason == .invalid)
    }

    @Test("A resource that stands twice is refused")
    func duplicate() throws {
        var instance = try Self.vector("tlv-inst-nosec")
        instance.resources.append(Resource(id: 0, value: .single([])))
        let error = #expect(throws: AccountError.self) { try SecurityAccount(instance) }
        #expect(error?.reason == .duplicate)
        #expect(error?.description == "/0/0/0 occurs twice")
    }

    @Test("A bootstrap account may have any short server ID, or none")
    func bootstrapShortServerID() throws {
        var instance = try Self.vector("tlv-inst-bootstrap")
        for value: [UInt8]? in [[0], [0, 0, 0xFF, 0xFF], nil] {
            instance.resources.removeAll { $0.id == 10 }
            if let value { instance.resources.append(Resource(id: 10, value: .single(value))) }
            let account = try SecurityAccount(instance)
            #expect(account.shortServerID == nil)
            #expect(account.instance == instance)
        }
    }

    @Test("A server account needs its short server ID, 1 to 65534", arguments: [[0], [0, 0, 0xFF, 0xFF], [0x80], nil])
    func serverAccountShortServerID(value: [UInt8]?) throws {
        let resources = value.map { [Resource(id: 0, value: .single($0))] } ?? []
        let error = #expect(throws: AccountError.self) {
            try ServerAccount(ObjectInstance(id: 3, resources: resources))
        }
        #expect(error?.description.hasPrefix("/1/3/0 ") == true)
    }

    @Test("Scheme and mode fit together as spec 2.4 says", arguments: SecurityMode.allCases)
    func schemes(mode: SecurityMode) {
        #expect(mode.fits(.coaps) == (mode != .noSec))
        #expect(mode.fits(.coap) == (mode == .noSec))
    }
}
