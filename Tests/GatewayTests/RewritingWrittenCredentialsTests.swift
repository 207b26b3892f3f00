import CoAP
import LwM2M
import Secrets
import Testing
import Timing

@testable import Gateway

@Suite("What upstream writes for a registration over DTLS stays in the gateway")
struct RewritingWrittenCredentialsTests {
    private static let identity = PSKIdentity("meter-1")!
    private static let key = [UInt8](repeating: 0xA5, count: 16)

    private func rule() -> GatewayConfiguration.ServerRule {
        .init(
            name: "meters", matchURI: nil, matchShortServerID: 1111,
            device: .init(
                secure: .init(scheme: .coaps, host: "edge.example.net", port: 5684),
                plain: .init(scheme: .coap, host: "edge.example.net", port: 5683)
            ),
            relay: .init(uri: .init(scheme: .coaps, host: "10.1.0.20", port: 5684), credentials: .written)
        )
    }

    private func rewriter(_ arrival: GatewayConfiguration.Security) -> AccountRewriter {
        AccountRewriter(
            servers: [self.rule()], unmatched: .refuse,
            account: .init(
                secure: .init(scheme: .coaps, host: "edge.example.net", port: 5684),
                plain: .init(scheme: .coap, host: "edge.example.net", port: 5683)
            ),
            arrival: arrival, bootstrapIdentity: Self.identity, bootstrapKey: Secret([UInt8](0..<16))
        )
    }

    private func account(key: [UInt8] = Self.key) -> ObjectInstance {
        Rewriting.server(
            0, uri: "coaps://10.1.0.20:5684", mode: 0,
            with: [Rewriting.opaque(3, Self.identity.bytes), Rewriting.opaque(5, key)]
        )
    }

    private var written: UpstreamAccount {
        UpstreamAccount(
            uri: "coaps://10.1.0.20:5684", credentials: PreSharedKey(identity: Self.identity, key: Secret(Self.key))
        )
    }

    @Test("A device over DTLS gets a one-time pair, the gateway keeps what was written")
    func overDTLS() throws {
        var rewriter = self.rewriter(.dtls)
        let (instance, accounts) = try rewriter.write(self.account())
        #expect(instance[3] == Array("one-time-meters-1111".utf8))
        #expect(instance[5] == Rewriting.oneTimeKey(1111))
        #expect(accounts.map(\.written) == [self.written])
    }

    @Test("T13: a plain device gets no key at all, the gateway keeps what was written")
    func plain() throws {
        var rewriter = self.rewriter(.plain)
        let (instance, accounts) = try rewriter.write(self.account())
        #expect(instance.number(2) == 3)
        #expect(instance.resources.allSatisfy { instance[$0.id] != Self.key && instance[$0.id] != Self.identity.bytes })
        #expect(accounts.map(\.written) == [self.written])
    }

    @Test("An account without a key, or with one that DTLS cannot use, is refused with its cause")
    func refused() {
        for account in [
            Rewriting.server(),
            self.account(key: [UInt8](repeating: 1, count: 65)),
        ] {
            var rewriter = self.rewriter(.dtls)
            let refusal = rewriter.refusal(of: account)
            #expect(refusal?.cause == .noRouteForServer)
            #expect(refusal?.isAccount == true)
            #expect(!rewriter.mayFinish)
        }
    }

    @Test("T30: the same account again keeps its one-time pair; other credentials of upstream get a new one")
    func repeated() throws {
        var rewriter = self.rewriter(.dtls)
        var minted = 0
        let counting: AccountRewriter.Mint = { server, ssid in
            minted += 1
            return Rewriting.mint(server: server, shortServerID: ssid)
        }
        _ = try rewriter.write(self.account(), mint: counting)
        _ = try rewriter.write(self.account(), mint: counting)
        #expect(minted == 1)
        let changed = try rewriter.write(self.account(key: [UInt8](repeating: 7, count: 16)), mint: counting)
        #expect(minted == 2)
        #expect(changed.accounts.first?.written?.credentials.key == Secret([UInt8](repeating: 7, count: 16)))
    }

    @Test("Nothing is kept where the relay is plain or has a pair of its own")
    func notWanted() throws {
        for credentials in [
            nil, UpstreamCredentials.fixed(PreSharedKey(identity: Self.identity, key: Secret(Self.key))),
        ] {
            var rule = self.rule()
            rule.relay?.credentials = credentials
            var rewriter = AccountRewriter(
                servers: [rule], unmatched: .refuse, account: rule.device, arrival: .dtls,
                bootstrapIdentity: Self.identity, bootstrapKey: Secret([UInt8](0..<16))
            )
            #expect(try rewriter.write(self.account()).accounts.map(\.written) == [nil])
        }
    }

    @Test("A session attaches what was written to the credential that goes to the store")
    func stored() throws {
        var configuration = BootstrapScript.configuration()
        configuration.servers = [self.rule()]
        let script = try BootstrapScript()
        var session = BootstrapSession(subject: script.session.subject, configuration: Shared(configuration))
        var actions: [BootstrapSession.Action] = []
        var ids = script
        session.deviceRequested(
            ids.nextID(), .init(.post, path: ["bs"], query: ["ep=meter-1"]), now: .now, wallClock: 0, into: &actions)
        session.leaseGranted(BootstrapScript.upstream, wallClock: 0, into: &actions)
        session.upstreamAnswered(.init(.changed), now: .now, wallClock: 0, into: &actions)
        var write = CoAPRequest(.put, path: ["0", "0"])
        write.options.append(.contentFormat, uint: 11542)
        write.payload = try TLV.encode(.instance(self.account()))
        session.upstreamRequested(ids.nextID(), write, now: .now, wallClock: 0, into: &actions)
        let stored = actions.flatMap { action -> [OneTimeCredential] in
            if case .store(let credentials, _) = action { credentials } else { [] }
        }
        #expect(stored.map(\.written) == [self.written])
    }

    @Test("T44: neither a printed change nor a printed credential shows the key")
    func redaction() {
        let credential = OneTimeCredential(
            identity: Self.identity, key: Secret(Self.key), iccid: "1", endpoint: "e", server: "meters",
            shortServerID: 1, state: .pending, mintedAt: 0, written: self.written
        )
        var text = ""
        dump(credential, to: &text)
        text += "\(credential) \(String(reflecting: credential))"
        #expect(!text.contains("165") && !text.lowercased().contains("a5a5"))
    }
}
