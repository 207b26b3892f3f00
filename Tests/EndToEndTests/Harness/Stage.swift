internal import Foundation
internal import Synchronization

/// Where one end-to-end test takes place: a folder, an address on loopback that no other test has, and the programs that
/// it starts. Everything is gone afterwards.
final class Stage: Sendable {
    let folder: URL
    /// An address of 127.0.0.0/8 that is this stage's own, so that ports cannot collide.
    let address: String
    /// Another one, for a device that moves.
    let otherAddress: String
    private let programs = Mutex<[Program]>([])
    private let relays = Mutex<[NATRelay]>([])
    /// Those that were given away, as nobody may have bound them yet.
    private let ports = Mutex<Set<UInt16>>([])

    private static let count = Atomic(0)
    /// More at once would only make them wait for each other.
    private static let turns = Turns(4)

    /// Runs `body` on a stage of its own. What the programs wrote goes into the error if `body` throws one.
    static func run(_ body: (Stage) async throws -> Void) async throws {
        await Self.turns.take()
        let result = await Self.result(of: body)
        await Self.turns.giveBack()
        try result.get()
    }

    private static func result(of body: (Stage) async throws -> Void) async -> Result<Void, any Error> {
        let stage: Stage
        do { stage = try Stage() } catch { return .failure(error) }
        var result = Result<Void, any Error>.success(())
        do {
            try await body(stage)
        } catch {
            let transcripts = stage.programs.withLock { $0 }.map(\.transcript).joined()
            result = .failure(Unexpected("\(error)\n\(transcripts)"))
        }
        await stage.end()
        return result
    }

    private init() throws {
        let number = Self.count.add(1, ordering: .relaxed).newValue
        let process = Int(getpid())
        self.address = "127.\(64 + process / 250 % 64).\(1 + process % 250).\(1 + number % 250)"
        self.otherAddress = "127.\(128 + process / 250 % 64).\(1 + process % 250).\(1 + number % 250)"
        self.folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "bootgate-test-\(process)-\(number)")
        try FileManager.default.createDirectory(
            at: self.folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    private func end() async {
        for program in self.programs.withLock({ $0 }).reversed() { await program.stop() }
        for relay in self.relays.withLock({ $0 }) { relay.stop() }
        try? FileManager.default.removeItem(at: self.folder)
    }

    /// Starts a program that ends with the stage.
    func start(_ name: String, _ executable: String, _ arguments: [String], input: [UInt8]? = nil) throws -> Program {
        let program = try Program(name, executable, arguments, input: input)
        self.programs.withLock { $0.append(program) }
        return program
    }

    /// Runs a program to its end, which has to be a good one.
    @discardableResult
    func run(
        _ name: String, _ executable: String, _ arguments: [String], within limit: Duration = .seconds(30)
    ) async throws -> [String] {
        let program = try self.start(name, executable, arguments)
        let status = try await program.exit(within: limit)
        guard status == 0 else { throw Unexpected("\(name) ended with \(status)") }
        return program.output.all
    }

    /// A UDP port of this stage's address, another one each time.
    func freePort() throws -> UInt16 {
        // Below those that the system gives to whoever asks for any: nobody else can get it meanwhile.
        for _ in 0..<1_000 {
            let port = UInt16.random(in: 10_000..<30_000)
            guard (try? UDPSocket(from: self.address, port: port)) != nil else { continue }
            if self.ports.withLock({ $0.insert(port).inserted }) { return port }
        }
        throw Unexpected("no port is free")
    }

    /// A NAT for a gateway to stand behind; see ``Settings/relay``.
    func relay(_ judge: @escaping @Sendable (NATRelay.Passage) -> NATRelay.Fate = { _ in .pass }) throws -> NATRelay {
        let relay = try NATRelay(at: self.address, judge: judge)
        self.relays.withLock { $0.append(relay) }
        return relay
    }

    // MARK: - The far ends

    /// A server of the simulator, and where it listens.
    struct Server: Sendable {
        let program: Program
        let uri: String

        var port: UInt16? { self.uri.split(separator: ":").last.flatMap { UInt16($0) } }

        func kill() async throws {
            self.program.signal(SIGKILL)
            _ = try await self.program.exit(within: .seconds(10))
        }
    }

    func bootstrapServer(_ arguments: [String]) async throws -> Server {
        try await self.server("bootstrap server", ["bootstrap-server"] + arguments)
    }

    func managementServer(_ arguments: [String] = []) async throws -> Server {
        try await self.server("LwM2M server", ["lwm2m-server"] + arguments)
    }

    private func server(_ name: String, _ arguments: [String]) async throws -> Server {
        // A server that comes back says where it was.
        let place = arguments.contains("--listen") ? [] : ["--listen", "\(self.address):0"]
        let program = try self.start(name, Programs.simulator, arguments + place + ["--timeout", "300"])
        guard let port = try await program.event("listening").integer("port") else {
            throw Unexpected("the \(name) names no port")
        }
        let scheme = arguments.contains("--psk") ? "coaps" : "coap"
        return Server(program: program, uri: "\(scheme)://\(self.address):\(port)")
    }

    /// A file with a key, as the configuration names them.
    func keyFile(_ name: String, _ hexadecimal: String) throws -> String {
        let path = self.folder.appendingPathComponent(name).path
        guard
            FileManager.default.createFile(
                atPath: path, contents: Data(hexadecimal.utf8), attributes: [.posixPermissions: 0o600])
        else { throw Unexpected("cannot write \(path)") }
        return path
    }

    /// A device of the simulator that lives through its life once.
    func device(_ arguments: [String], on library: DTLSLibrary = .openSSL) throws -> Program {
        try self.start("device", library.simulator, ["device", "--timeout", "60"] + arguments)
    }

    /// What libcoap was built on.
    enum DTLSLibrary: String, CaseIterable, Sendable {
        case openSSL = "OpenSSL"
        case gnuTLS = "GnuTLS"

        fileprivate var simulator: String { self == .openSSL ? Programs.simulator : Programs.simulator + "-gnutls" }
    }

    /// The arguments of a device that comes over DTLS with the credentials of `sim`.
    func credentials(_ sim: SIM, at gateway: Gateway, key: String? = nil, endpoint: String? = nil) -> [String] {
        [
            "--bootstrap", gateway.secure, "--identity", sim.iccid, "--key", key ?? sim.key,
            "--endpoint", endpoint ?? sim.iccid,
        ]
    }
}

/// Lets so many tests run at a time.
private actor Turns {
    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(_ free: Int) { self.free = free }

    func take() async {
        if self.free > 0 {
            self.free -= 1
        } else {
            await withCheckedContinuation { self.waiting.append($0) }
        }
    }

    func giveBack() {
        if self.waiting.isEmpty { self.free += 1 } else { self.waiting.removeFirst().resume() }
    }
}

/// Where the programs under test are.
enum Programs {
    static let gateway = Self.folder + "/bootgate"
    static let simulator = Self.folder + "/bootgate-simulator"
    /// Python with the bindings of tinydtls and mbedTLS and with aiocoap, as `scripts/test` installs it.
    static let python = Self.checkout + "/.deps/venv/bin/python"

    static func resource(_ name: String) throws -> String {
        guard let path = Bundle.module.path(forResource: name, ofType: nil, inDirectory: "Resources") else {
            throw Unexpected("the test resource \(name) is missing")
        }
        return path
    }

    /// Beside the tests themselves, unless BOOTGATE_PROGRAMS names another folder.
    private static let folder: String =
        ProcessInfo.processInfo.environment["BOOTGATE_PROGRAMS"]
        ?? URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path

    private static let checkout = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
}
