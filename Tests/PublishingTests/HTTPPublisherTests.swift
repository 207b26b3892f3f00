import Foundation
import Gateway
import NIOSSL
import Publishing
import Secrets
import Testing

@Suite("Telling servers of keys over HTTP")
struct HTTPPublisherTests {
    static let keyDigits = "00112233445566778899aabbccddeeff"

    private func credential(endpoint: String = "meter-1") throws -> OneTimeCredential {
        OneTimeCredential(
            identity: try #require(PSKIdentity("abcdefghijklmnopqrstuvwxyz234")),
            key: try #require(Secret(hexadecimal: Self.keyDigits)), iccid: "8988303000000000015", endpoint: endpoint,
            server: "trackers", shortServerID: 2000, state: .pending, mintedAt: 0
        )
    }

    /// Runs `body` with a publisher to a server, and closes both.
    private func run<R: Sendable>(
        _ form: PublicationTarget.Form, _ behaviour: TestServer.Behaviour = .status(204), tls: TLSConfiguration? = nil,
        change: (inout PublicationTarget) throws -> Void = { _ in },
        _ body: (HTTPPublisher, TestServer) async throws -> R
    ) async throws -> R {
        let server = try await TestServer(behaviour, tls: tls)
        let path = form == .webhook ? "/hook" : ""
        var target = PublicationTarget(
            form: form, url: "http\(tls == nil ? "" : "s")://127.0.0.1:\(server.port)\(path)")
        try change(&target)
        let publisher = try HTTPPublisher(["trackers": target])
        let result: Result<R, any Error>
        do { result = .success(try await body(publisher, server)) } catch { result = .failure(error) }
        await publisher.close()
        try await server.close()
        return try result.get()
    }

    private func first(_ server: TestServer) async throws -> TestServer.Request {
        for await request in server.requests { return request }
        throw NoRequest()
    }

    private struct NoRequest: Error {}

    /// Why `body` fails.
    private func failure(_ body: () async throws -> Void) async -> PublicationFailure? {
        do {
            try await body()
            return nil
        } catch { return error as? PublicationFailure }
    }

    @Test("Leshan, newer shape")
    func leshan() async throws {
        let request = try await self.run(.leshan(.tls)) { publisher, server in
            try await publisher.publish(try self.credential())
            return try await self.first(server)
        }
        #expect(request.method == "PUT" && request.uri == "/api/security/clients/")
        #expect(request.headers["content-type"] == "application/json")
        #expect(
            request.body
                == #"{"endpoint":"meter-1","tls":{"details":{"identity":"abcdefghijklmnopqrstuvwxyz234","key":"\#(Self.keyDigits)"},"mode":"psk"}}"#
        )
    }

    @Test("Leshan, older shape")
    func olderLeshan() async throws {
        let request = try await self.run(.leshan(.psk), change: { $0.url += "/" }) { publisher, server in
            try await publisher.publish(try self.credential())
            return try await self.first(server)
        }
        #expect(request.method == "PUT" && request.uri == "/api/security/clients/")
        #expect(
            request.body
                == #"{"endpoint":"meter-1","psk":{"identity":"abcdefghijklmnopqrstuvwxyz234","key":"\#(Self.keyDigits)"}}"#
        )
    }

    @Test("A name goes into the path of a withdrawal so that it stays one segment")
    func leshanWithdrawal() async throws {
        let request = try await self.run(.leshan(.tls)) { publisher, server in
            try await publisher.withdraw(endpoint: "urn:x/../a b?#é", identity: nil, from: "trackers")
            return try await self.first(server)
        }
        #expect(request.method == "DELETE" && request.body.isEmpty)
        #expect(request.uri == "/api/security/clients/urn%3Ax%2F..%2Fa%20b%3F%23%C3%A9")
    }

    @Test("A webhook gets a message for each change, with the token")
    func webhook() async throws {
        let (published, withdrawn) = try await self.run(
            .webhook, .status(200), change: { $0.token = Secret("tok".utf8) }
        ) { publisher, server in
            let credential = try self.credential(endpoint: "a\"b")
            try await publisher.publish(credential)
            let published = try await self.first(server)
            try await publisher.withdraw(endpoint: "a\"b", identity: credential.identity, from: "trackers")
            return (published, try await self.first(server))
        }
        #expect(published.method == "POST" && published.uri == "/hook")
        #expect(published.headers["authorization"] == "Bearer tok")
        #expect(
            published.body
                == #"{"action":"publish","endpoint":"a\"b","iccid":"8988303000000000015","identity":"abcdefghijklmnopqrstuvwxyz234","key":"\#(Self.keyDigits)","server":"trackers","ssid":2000}"#
        )
        #expect(withdrawn.method == "POST" && withdrawn.headers["authorization"] == "Bearer tok")
        #expect(
            withdrawn.body
                == #"{"action":"withdraw","endpoint":"a\"b","identity":"abcdefghijklmnopqrstuvwxyz234","server":"trackers"}"#
        )
    }

    @Test(
        "A status other than success is a refusal, whose text holds nothing of the answer", arguments: [400, 401, 500])
    func refused(status: UInt) async throws {
        let failure = try await self.run(.leshan(.tls), .status(status)) { publisher, _ in
            await self.failure { try await publisher.publish(try self.credential()) }
        }
        #expect(failure == PublicationFailure(.refused, "status \(status)"))
    }

    @Test("A key does not follow a redirection")
    func redirected() async throws {
        let failure = try await self.run(
            .leshan(.tls), .status(307, headers: ["location": "http://127.0.0.1:1/"])
        ) { publisher, _ in await self.failure { try await publisher.publish(try self.credential()) } }
        #expect(failure == PublicationFailure(.refused, "status 307"))
    }

    @Test("What the server does not know is withdrawn already")
    func unknown() async throws {
        for form in [PublicationTarget.Form.leshan(.tls), .webhook] {
            try await self.run(form, .status(404)) { publisher, _ in
                try await publisher.withdraw(endpoint: "meter-1", identity: nil, from: "trackers")
                let failure = await self.failure { try await publisher.publish(try self.credential()) }
                #expect(failure?.kind == .refused)
            }
        }
    }

    @Test("A server that says nothing is given up after the timeout")
    func silent() async throws {
        let failure = try await self.run(
            .leshan(.tls), .silence, change: { $0.timeout = .milliseconds(200) }
        ) { publisher, _ in await self.failure { try await publisher.publish(try self.credential()) } }
        #expect(failure?.kind == .silent)
    }

    @Test(
        "An answer that does not end holds nothing up beyond the timeout, and counts by its status",
        .timeLimit(.minutes(1)), arguments: [(UInt(200), nil), (UInt(500), PublicationFailure.Kind.refused)])
    func trickling(status: UInt, kind: PublicationFailure.Kind?) async throws {
        try await self.run(
            .leshan(.tls), .trickle(status), change: { $0.timeout = .milliseconds(200) }
        ) { publisher, server in
            let failure = await self.failure { try await publisher.publish(try self.credential()) }
            #expect(failure?.kind == kind)
            // Ends when the publisher has let go of the connection.
            for await _ in server.requests {}
        }
    }

    @Test("Nobody there, and a server that is not configured")
    func unreachable() async throws {
        let server = try await TestServer(.status(200))
        let port = server.port
        try await server.close()
        let target = PublicationTarget(form: .leshan(.tls), url: "http://127.0.0.1:\(port)")
        let publisher = try HTTPPublisher(["trackers": target])
        let failure = await self.failure { try await publisher.publish(try self.credential()) }
        #expect(failure?.kind == .unreachable)
        let other = await self.failure {
            try await publisher.withdraw(endpoint: "e", identity: nil, from: "meters")
        }
        #expect(other?.kind == .unconfigured)
        await publisher.close()
        let closed = await self.failure { try await publisher.publish(try self.credential()) }
        #expect(closed?.kind == .unreachable)
    }

    // MARK: - TLS

    private func serverTLS(requiresClient: Bool) throws -> TLSConfiguration {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(Certificates.server.utf8)).map {
                .certificate($0)
            },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(Certificates.serverKey.utf8), format: .pem))
        )
        if requiresClient {
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(Certificates.root.utf8)))
            tls.certificateVerification = .noHostnameVerification
        }
        return tls
    }

    /// Writes certificates where the publisher reads them from, and removes them afterwards.
    private func withFiles<R>(_ body: (_ root: String, _ client: String) async throws -> R) async throws -> R {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("publishing-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let root = folder.appendingPathComponent("root.pem")
        let client = folder.appendingPathComponent("client.pem")
        try Data(Certificates.root.utf8).write(to: root)
        try Data(Certificates.client.utf8).write(to: client)
        return try await body(root.path, client.path)
    }

    @Test("Mutual TLS: with certificate and key it is accepted, without it is not")
    func mutualTLS() async throws {
        try await self.withFiles { root, client in
            let identity = PublicationTarget.ClientIdentity(
                certificates: client, key: Secret(Certificates.clientKey.utf8)
            )
            for shown in [identity, nil] {
                let failure = try await self.run(
                    .webhook, tls: try self.serverTLS(requiresClient: true),
                    change: {
                        $0.trustRoots = root
                        $0.identity = shown
                    }
                ) { publisher, _ in await self.failure { try await publisher.publish(try self.credential()) } }
                #expect((failure == nil) == (shown != nil))
            }
        }
    }

    @Test("A server whose certificate leads to no trusted root gets no key")
    func untrusted() async throws {
        let failure = try await self.run(
            .leshan(.tls), tls: try self.serverTLS(requiresClient: false)
        ) { publisher, _ in await self.failure { try await publisher.publish(try self.credential()) } }
        #expect(failure?.kind == .unreachable)
    }

    @Test("Certificates and keys that cannot be used are told at the start")
    func setUp() async throws {
        try await self.withFiles { root, client in
            var target = PublicationTarget(form: .webhook, url: "https://127.0.0.1:1")
            target.trustRoots = root + "x"
            #expect(throws: PublicationSetupError.self) { try HTTPPublisher(["trackers": target]) }
            target.trustRoots = nil
            for key in [Certificates.serverKey, "no key"] {
                target.identity = .init(certificates: client, key: Secret(key.utf8))
                #expect(throws: PublicationSetupError.self) { try HTTPPublisher(["trackers": target]) }
            }
        }
    }
}
