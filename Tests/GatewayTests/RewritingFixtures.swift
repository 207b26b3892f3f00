import Gateway
import LwM2M
import Secrets
import Testing

/// What the tests of rewriting share: one configuration, one SIM, and accounts as upstream servers write them.
enum Rewriting {
    static let key = Secret([UInt8](repeating: 0xB0, count: 16))
    static let identity = PSKIdentity("8988228066602306770")!

    static let meters = rule(
        "meters",
        uri: "coap://10.1.0.20:5683",
        ssid: 1111,
        secure: "coaps://edge.example.net:5684",
        plain: "coap://edge.example.net:5683"
    )
    static let trackers = rule("trackers", ssid: 2000, secure: "coaps://lwm2m.example.net:5684")

    static func uri(_ text: String) -> ServerURI {
        do { return try ServerURI(text) } catch {
            Issue.record("\(text): \(error)")
            return ServerURI(scheme: .coap, host: "invalid", port: 1)
        }
    }

    static func rule(
        _ name: String,
        uri: String? = nil,
        ssid: UInt16? = nil,
        secure: String? = nil,
        plain: String? = nil
    ) -> GatewayConfiguration.ServerRule {
        .init(
            name: name,
            matchURI: uri.map(Self.uri),
            matchShortServerID: ssid,
            device: .init(secure: secure.map(Self.uri), plain: plain.map(Self.uri)),
            relay: nil
        )
    }

    static func rewriter(
        _ arrival: GatewayConfiguration.Security = .dtls,
        servers: [GatewayConfiguration.ServerRule] = [meters, trackers],
        unmatched: GatewayConfiguration.Unmatched = .refuse,
        account: GatewayConfiguration.DeviceURIs = .init(
            secure: uri("coaps://edge.example.net:5684"),
            plain: uri("coap://edge.example.net:5683")
        ),
        key: Secret? = key
    ) -> AccountRewriter {
        AccountRewriter(
            servers: servers,
            unmatched: unmatched,
            account: account,
            arrival: arrival,
            bootstrapIdentity: identity,
            bootstrapKey: key
        )
    }

    /// A credential that names what it was made for.
    static func mint(server: String, shortServerID: UInt16) -> (PSKIdentity, Secret) {
        (
            PSKIdentity("one-time-\(server)-\(shortServerID)")!,
            Secret(oneTimeKey(shortServerID))
        )
    }

    /// The key of the credential for this short server ID.
    static func oneTimeKey(_ shortServerID: UInt16) -> [UInt8] {
        [UInt8](repeating: UInt8(shortServerID & 0xFF), count: 16)
    }

    // Resources, as upstream writes them.
    static func text(_ id: UInt16, _ value: String) -> Resource {
        Resource(id: id, value: .single(ResourceValue.bytes(value)))
    }
    static func number(_ id: UInt16, _ value: Int64) -> Resource {
        Resource(id: id, value: .single(ResourceValue.bytes(value)))
    }
    static func boolean(_ id: UInt16, _ value: Bool) -> Resource {
        Resource(id: id, value: .single(ResourceValue.bytes(value)))
    }
    static func opaque(_ id: UInt16, _ bytes: [UInt8]) -> Resource { Resource(id: id, value: .single(bytes)) }
    static func several(_ id: UInt16, _ values: [[UInt8]]) -> Resource {
        let instances = values.enumerated().map { ResourceInstance(id: UInt16($0.offset), bytes: $0.element) }
        return Resource(id: id, value: .multiple(instances))
    }

    /// A NoSec account of a legacy server, in the order 0, 1, 2, 10, with `more` behind.
    static func server(
        _ id: UInt16 = 0,
        uri: String = "coap://10.1.0.20:5683",
        mode: Int64 = 3,
        ssid: Int64 = 1111,
        with more: [Resource] = []
    ) -> ObjectInstance {
        ObjectInstance(id: id, resources: [text(0, uri), boolean(1, false), number(2, mode), number(10, ssid)] + more)
    }

    /// A NoSec bootstrap account of a legacy server.
    static func bootstrap(_ id: UInt16 = 1, mode: Int64 = 3, with more: [Resource] = []) -> ObjectInstance {
        ObjectInstance(
            id: id,
            resources: [text(0, "coap://10.1.0.10:5683"), boolean(1, true), number(2, mode), number(10, 2222)] + more
        )
    }
}

extension ObjectInstance {
    subscript(id: UInt16) -> [UInt8]? {
        guard case .single(let bytes)? = self.resources.first(where: { $0.id == id })?.value else { return nil }
        return bytes
    }

    var ids: [UInt16] { self.resources.map(\.id) }

    func text(_ id: UInt16) -> String? { self[id].flatMap(ResourceValue.string) }

    func number(_ id: UInt16) -> Int64? { self[id].flatMap(ResourceValue.integer) }
}

extension AccountRewriter {
    /// Writes one instance as upstream would and gives the instance that the device gets.
    mutating func write(
        _ instance: ObjectInstance,
        object: UInt16 = 0,
        mint: Mint = Rewriting.mint
    ) throws -> (instance: ObjectInstance, accounts: [AccountChange]) {
        let written = try self.rewrite(
            path: ["\(object)", "\(instance.id)"],
            contentFormat: 11542,
            payload: TLV.encode(.instance(instance)),
            mint: mint
        )
        #expect(written.path == LwM2MPath(object, instance.id) && written.contentFormat == 11542)
        guard case .instance(let result) = try TLV.decode(written.payload, at: written.path) else {
            throw UnexpectedLevel()
        }
        return (result, written.accounts)
    }

    /// Writes a whole object.
    mutating func write(
        _ instances: [ObjectInstance],
        object: UInt16 = 0,
        mint: Mint = Rewriting.mint
    ) throws -> (instances: [ObjectInstance], accounts: [AccountChange]) {
        let written = try self.rewrite(
            path: ["\(object)"],
            contentFormat: 11542,
            payload: TLV.encode(.instances(instances)),
            mint: mint
        )
        #expect(written.path == LwM2MPath(object))
        guard case .instances(let result) = try TLV.decode(written.payload, at: written.path) else {
            throw UnexpectedLevel()
        }
        return (result, written.accounts)
    }

    /// The refusal of a write that must be refused.
    mutating func refusal(of instance: ObjectInstance, object: UInt16 = 0) -> RewriteRefusal? {
        do {
            _ = try self.write(instance, object: object)
            return nil
        } catch { return error as? RewriteRefusal }
    }

    private struct UnexpectedLevel: Error {}
}
