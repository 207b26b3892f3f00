import Foundation
import Glibc
import Synchronization
import Testing

@testable import Admin

/// The server on loopback, asked by plain sockets.
@Suite("HTTP of monitoring")
struct AdminServerTests {
    private static func serve(_ body: @escaping @Sendable (UInt16) async throws -> Void) async throws {
        var settings = AdminSettings()
        settings.address = ("127.0.0.1", 0)
        settings.metricsAreOpen = true
        let observation = try Samples.observation()
        let server = AdminServer(settings) { observation }
        let (ports, bound) = AsyncStream.makeStream(of: Int.self)
        let running = Task { try await server.run { bound.yield($0) } }
        var port = 0
        for await number in ports {
            port = number
            break
        }
        let result: Result<Void, any Error>
        do { result = .success(try await body(UInt16(port))) } catch { result = .failure(error) }
        running.cancel()
        try await running.value
        try result.get()
    }

    /// A connection; it is closed with the value.
    private final class Connection: Sendable {
        let descriptor: CInt

        init(_ port: UInt16) throws {
            self.descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            // Far longer than anything takes here: it only keeps a broken test from hanging.
            var limit = timeval(tv_sec: 20, tv_usec: 0)
            setsockopt(self.descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            // Family, port and address, as the kernel lays them out.
            let name: [UInt8] =
                [2, 0, UInt8(port >> 8), UInt8(truncatingIfNeeded: port), 127, 0, 0, 1]
                + [UInt8](repeating: 0, count: 8)
            let result = name.withUnsafeBytes {
                connect(self.descriptor, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
            }
            try #require(result == 0)
        }

        deinit { close(self.descriptor) }

        func send(_ text: String) { _ = Glibc.send(self.descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL)) }

        /// Everything until the other side closes, or the first `limit` bytes.
        func rest(limit: Int = .max) async -> String {
            // Not on a thread of tasks, of which there may be two.
            await withCheckedContinuation { continuation in
                DispatchQueue.global().async { continuation.resume(returning: self.readRest(limit)) }
            }
        }

        private func readRest(_ limit: Int) -> String {
            var all: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 65_536)
            while all.count < limit {
                let count = recv(self.descriptor, &part, min(part.count, limit - all.count), 0)
                guard count > 0 else { break }
                all += part.prefix(count)
            }
            return String(decoding: all, as: UTF8.self)
        }
    }

    private static func ask(_ request: String, at port: UInt16) async throws -> String {
        let connection = try Connection(port)
        connection.send(request)
        return await connection.rest()
    }

    @Test(
        "What is asked for is answered, whole and with its length; anything else has its code",
        arguments: [
            ("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", "\r\n\r\nok\n"),
            ("GET /healthz?x=1 HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "\r\n\r\nok\n"),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", "bootgate_ready 1\n"),
            ("HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", "\r\n\r\n"),
            (
                "POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 405",
                ""
            ),
            ("GET /v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 401", ""),
            ("GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404", ""),
            ("nonsense\r\n\r\n", "HTTP/1.1 400", ""),
        ])
    func answers(request: String, start: String, part: String) async throws {
        try await Self.serve { port in
            let answer = try await Self.ask(request, at: port)
            #expect(answer.hasPrefix(start), "\(answer)")
            #expect(part.isEmpty || answer.contains(part), "\(answer)")
            guard let blank = answer.range(of: "\r\n\r\n") else {
                Issue.record("no end of the head: \(answer)")
                return
            }
            let length = answer.firstMatch(of: /(?i)content-length: (\d+)/).flatMap { Int($0.1) }
            if request.hasPrefix("HEAD") {
                #expect(length ?? 0 > 1_000 && blank.upperBound == answer.endIndex)
            } else {
                #expect(length ?? 0 == answer[blank.upperBound...].utf8.count)
            }
        }
    }

    @Test("A connection is kept for further questions, few or many at once", arguments: [2, 1_000])
    func keepsAlive(count: Int) async throws {
        try await Self.serve { port in
            let question = "GET /healthz HTTP/1.1\r\nHost: a\r\n"
            let answer = try await Self.ask(
                String(repeating: "\(question)\r\n", count: count) + "\(question)Connection: close\r\n\r\n", at: port)
            #expect(answer.matches(of: /HTTP\/1.1 200 OK/).count == count + 1, "\(answer)")
        }
    }

    @Test("Beyond 64 connections the next one is closed, and answered again when one has gone")
    func limit() async throws {
        try await Self.serve { port in
            let question = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            var open = try (0..<64).map { _ in try Connection(port) }
            // The server has seen the last one, and with it all.
            open[63].send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(await open[63].rest(limit: 1) == "H")
            let refused = try await Self.ask(question, at: port)
            #expect(refused.isEmpty)
            open.removeAll()
            var answer = ""
            for _ in 0..<10_000 where answer.isEmpty { answer = try await Self.ask(question, at: port) }
            #expect(answer.hasPrefix("HTTP/1.1 200 OK"))
        }
    }

    @Test("Connections that come and go at any moment, at the stop too, do no harm", arguments: 1...10)
    func comeAndGo(round: Int) async throws {
        let left = Mutex<[Connection]>([])
        try await Self.serve { port in
            for number in 0..<100 {
                let connection = try Connection(port)
                if number % 3 == 0 { connection.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n") }
                if number % 2 == round % 2 { left.withLock { $0.append(connection) } }
            }
        }
        left.withLock { $0.removeAll() }
    }
}
