import Foundation
import LwM2M
import Secrets
import Testing

@Suite("T44: nothing prints values of resources")
struct RedactionTests {
    private static let key = bytes(hex: "deadbeefcafef00d0123456789abcdef")
    private static let identity = Array("identity-of-this-device".utf8)

    private static let security = ObjectInstance(
        id: 7,
        resources: [
            Resource(id: 0, value: .single(Array("coaps://h:5684".utf8))), Resource(id: 1, value: .single([0])),
            Resource(id: 2, value: .single([0])), Resource(id: 3, value: .single(identity)),
            Resource(id: 5, value: .single(key)), Resource(id: 8, value: .single(key)),
            Resource(id: 10, value: .single([1])),
            Resource(id: 3000, value: .multiple([ResourceInstance(id: 0, bytes: key)])),
        ]
    )

    /// Every form in which bytes could come out of a print.
    private static let forbidden: [String] = [Self.key, Self.identity].flatMap { bytes in
        let decimal = bytes.prefix(4).map { "\($0)" }
        return [
            hex(Array(bytes.prefix(4))), hex(Array(bytes.prefix(4))).uppercased(), decimal.joined(separator: ", "),
            String(decoding: bytes, as: UTF8.self), Data(bytes).base64EncodedString(),
            "[0]: \(bytes[0])", "- \(bytes[0])\n",
        ]
    }

    private static func prints(of value: some Any) -> [String] {
        var dumped = ""
        dump(value, to: &dumped)
        let children = Mirror(reflecting: value).children.map { "\($0.value)" }
        return [dumped, "\(value)", String(reflecting: value), String(describing: [value])] + children
    }

    private static func expectSilence(_ value: some Any, sourceLocation: SourceLocation = #_sourceLocation) {
        for print in Self.prints(of: value) {
            for secret in Self.forbidden {
                #expect(!print.contains(secret), "\(print)", sourceLocation: sourceLocation)
            }
        }
    }

    @Test("The search of these tests finds bytes that are printed")
    func searchFinds() {
        struct Careless { let key: [UInt8] }
        let prints = Self.prints(of: Careless(key: Self.key))
        #expect(prints.allSatisfy { print in Self.forbidden.contains { print.contains($0) } })
    }

    @Test("The raw tree shows identifiers and lengths alone")
    func tree() {
        Self.expectSilence(Self.security)
        Self.expectSilence(PathContent.instances([Self.security]))
        Self.expectSilence(PathContent.instance(Self.security))
        for resource in Self.security.resources {
            Self.expectSilence(resource)
            Self.expectSilence(resource.value)
            Self.expectSilence(PathContent.resource(resource))
        }
        Self.expectSilence(ResourceInstance(id: 0, bytes: Self.key))
        #expect(Self.security.description.contains("5: 16 bytes"))
        #expect(Self.security.description.contains("3000: [0: 16 bytes]"))
    }

    @Test("Accounts show neither identity nor keys, before and after a change")
    func accounts() throws {
        var account = try SecurityAccount(Self.security)
        Self.expectSilence(account)
        account.secretKey = Secret(Self.key)
        account.publicKeyOrIdentity = Self.identity
        Self.expectSilence(account)
        #expect(account.description == "/0/7 (server 1, PSK, identity of 23 bytes, key of 16 bytes)")
        Self.expectSilence(
            try ServerAccount(
                ObjectInstance(
                    id: 0,
                    resources: [
                        Resource(id: 0, value: .single([1])), Resource(id: 3000, value: .single(Self.key)),
                    ]
                )
            )
        )
    }

    @Test("Errors show no values")
    func errors() throws {
        var instance = Self.security
        instance.resources[0].value = .single(Self.key)
        let error = #expect(throws: AccountError.self) { try SecurityAccount(instance) }
        Self.expectSilence(try #require(error))
        let payload = [0xC8, 0x02, UInt8(Self.key.count)] + Self.key
        let tlvError = #expect(throws: TLVError.self) { try TLV.decode(payload, at: LwM2MPath(0, 0)) }
        Self.expectSilence(try #require(tlvError))
    }
}
