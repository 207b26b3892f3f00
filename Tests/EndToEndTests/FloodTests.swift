internal import Foundation
internal import Testing

/// What strangers may send in any amount. `scripts/slow` runs these against a release build. BOOTGATE_DATAGRAMS and
/// BOOTGATE_HELLOS say how many, BOOTGATE_SEED repeats the very same ones.
@Suite("Floods leave no trace")
struct FloodTests {
    /// The kernel's own buffers hold a few hundred datagrams: after so many, wait until the gateway has caught up.
    private static let burst = 32
    private static let seed = Self.number("BOOTGATE_SEED") ?? Int.random(in: 0..<1_000_000_000)

    @Test("Random and mutated datagrams on both ports neither crash the gateway nor make it grow")
    func randomDatagrams() async throws {
        let total = Self.number("BOOTGATE_DATAGRAMS") ?? 300_000
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            // One source is known on the plain port, so that its datagrams get further in.
            _ = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            let stranger = "127.1.2.3"
            var sizes: [Int] = []
            for half in 0..<2 {
                let received = try await Self.blocking {
                    var flood = try DatagramFlood(
                        gateway, sources: [stage.address, stranger], seed: UInt64(Self.seed + half))
                    return flood.run(datagrams: total / 2, burst: Self.burst)
                }
                #expect(received > 0, "seed \(Self.seed)")
                sizes.append(try Self.residentSize(of: gateway.program))
            }
            #expect(sizes[1] - sizes[0] <= 8 << 20, "resident \(sizes), seed \(Self.seed)")

            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0, "seed \(Self.seed)")
            let counters = try await gateway.countersAtStop()
            let arrived = counters.text("datagrams_from_devices").flatMap(Int.init) ?? 0
            #expect(arrived >= total * 9 / 10, "\(counters)")
        }
    }

    @Test("Hellos from as many addresses leave no state, and a device gets in meanwhile")
    func hellosFromEverywhere() async throws {
        let total = Self.number("BOOTGATE_HELLOS") ?? 50_000
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            // The first device makes the gateway allocate what it needs once.
            let first = try stage.device(stage.credentials(sim, at: gateway) + ["--once", "--stay", "0"])
            #expect(try await first.exit(within: .seconds(60)) == 0)
            let before = try Self.residentSize(of: gateway.program)

            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            try await Self.blocking {
                var flood = try HelloFlood(gateway, seed: UInt64(Self.seed))
                try flood.run(hellos: total, burst: Self.burst)
            }
            #expect(try await device.exit(within: .seconds(60)) == 0, "seed \(Self.seed)")
            let after = try Self.residentSize(of: gateway.program)
            #expect(after - before <= 4 << 20, "resident \(before), then \(after); seed \(Self.seed)")
            let counters = try await gateway.countersAtStop()
            let verified = counters.text("hello_verifications").flatMap(Int.init) ?? 0
            #expect(verified >= total * 9 / 10, "\(counters)")
            #expect(counters.text("sessions_opened") == counters.text("sessions_closed"), "\(counters)")
        }
    }

    private static func number(_ variable: String) -> Int? {
        ProcessInfo.processInfo.environment[variable].flatMap(Int.init)
    }

    /// Bytes of memory that the program has at the moment.
    private static func residentSize(of program: Program) throws -> Int {
        guard let number = program.processID else { throw Unexpected("\(program.name) has ended") }
        let fields = try String(contentsOfFile: "/proc/\(number)/statm", encoding: .utf8).split(separator: " ")
        return (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// Runs what blocks on a thread of its own.
    private static func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }
}

/// Sends noise: random bytes, and valid messages of either protocol with some of their bytes changed.
private struct DatagramFlood: ~Copyable {
    private let gateway: Gateway
    private let sources: [Source]
    private var generator: SeededGenerator

    private final class Source {
        let socket: UDPSocket
        /// Of the last HelloVerifyRequest, and the hello that it is good for.
        var cookie: [UInt8] = []
        var hello: ClientHello

        init(_ address: String, _ hello: ClientHello) throws {
            self.socket = try UDPSocket(from: address)
            self.hello = hello
        }
    }

    init(_ gateway: Gateway, sources: [String], seed: UInt64) throws {
        self.gateway = gateway
        var generator = SeededGenerator(seed: seed)
        self.sources = try sources.map { try Source($0, ClientHello(using: &generator)) }
        self.generator = generator
    }

    /// Returns how many datagrams came back.
    mutating func run(datagrams: Int, burst: Int) -> Int {
        var received = 0
        for index in 0..<datagrams {
            let source = self.sources[index % self.sources.count]
            let isSecure = Bool.random(using: &self.generator)
            let datagram = self.noise(from: source, isSecure: isSecure)
            source.socket.send(
                datagram, to: self.gateway.address, port: isSecure ? self.gateway.securePort : self.gateway.plainPort)
            if index % burst == burst - 1 { received += self.catchUp() }
        }
        return received
    }

    private mutating func noise(from source: Source, isSecure: Bool) -> [UInt8] {
        switch (Int.random(in: 0..<4, using: &self.generator), isSecure) {
        case (0, _): return self.bytes(Int.random(in: 0...1400, using: &self.generator))
        case (1, true): return self.mutated(source.hello.datagram())
        case (2, true): return self.mutated(source.hello.datagram(cookie: source.cookie))
        case (_, true):
            // A record of any type, with a plausible header.
            let body = self.bytes(Int.random(in: 0...120, using: &self.generator))
            let type = UInt8.random(in: 20...26, using: &self.generator)
            return [
                type, 0xFE, 0xFD, 0, UInt8.random(in: 0...2, using: &self.generator), 0, 0, 0, 0, 0, 1, 0,
                UInt8(body.count),
            ] + body
        case (_, false): return self.mutated(self.request())
        }
    }

    /// A request, or an answer, as a device or a server might send it.
    private mutating func request() -> [UInt8] {
        let codes: [UInt8] = [0x01, 0x02, 0x03, 0x04, 0x44, 0x45, 0x84, 0x00]
        let code = codes.randomElement(using: &self.generator) ?? 0
        let type = UInt8.random(in: 0...3, using: &self.generator)
        return [0x44 | type << 4, code] + self.bytes(6) + [0xB2] + "bs".utf8 + [0x46] + "ep=abc".utf8
    }

    private mutating func mutated(_ datagram: [UInt8]) -> [UInt8] {
        var datagram = datagram
        for _ in 0..<Int.random(in: 0...4, using: &self.generator) {
            guard let index = datagram.indices.randomElement(using: &self.generator) else { break }
            switch Int.random(in: 0..<4, using: &self.generator) {
            case 0: datagram[index] ^= 1 << UInt8.random(in: 0...7, using: &self.generator)
            case 1: datagram[index] = UInt8.random(in: .min ... .max, using: &self.generator)
            case 2: datagram.removeSubrange(index...)
            default: datagram.insert(contentsOf: self.bytes(Int.random(in: 1...8, using: &self.generator)), at: index)
            }
        }
        return datagram
    }

    private mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &self.generator) }
    }

    /// Lets the gateway take what has been sent: when it answers a hello, it has had all that came before.
    private mutating func catchUp() -> Int {
        var received = 0
        for source in self.sources {
            source.hello = ClientHello(using: &self.generator)
            source.socket.send(
                source.hello.datagram(), to: self.gateway.address, port: self.gateway.securePort)
            while let datagram = source.socket.receive(milliseconds: 50) {
                received += 1
                guard let cookie = ClientHello.cookie(of: datagram) else { continue }
                source.cookie = cookie
                break
            }
        }
        return received
    }
}

/// Sends first hellos, each from an address and port of its own, and never answers.
private struct HelloFlood: ~Copyable {
    private let gateway: Gateway
    private var generator: SeededGenerator

    init(_ gateway: Gateway, seed: UInt64) throws {
        self.gateway = gateway
        self.generator = SeededGenerator(seed: seed)
    }

    mutating func run(hellos: Int, burst: Int) throws {
        for index in 0..<hellos {
            let host = UInt32(index + 1) &* 2_654_435_761 & 0x00FF_FFFF
            let address = "127.\(host >> 16 & 0xFF).\(host >> 8 & 0xFF).\(max(1, min(254, host & 0xFF)))"
            let socket = try UDPSocket(from: address)
            socket.send(
                ClientHello(using: &self.generator).datagram(), to: self.gateway.address, port: self.gateway.securePort)
            if index % burst == burst - 1 { _ = socket.receive(milliseconds: 50) }
        }
    }
}
