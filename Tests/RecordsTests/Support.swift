import Foundation
import Gateway
import Logging
import Secrets
import Testing

@testable import Records

/// A folder of its own per test, removed at the end.
final class Scratch: Sendable {
    let path: String

    init() {
        self.path = NSTemporaryDirectory() + "/bootgate-records-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    var state: String { self.path + "/state" }
    var audit: String { self.state + "/audit" }

    func write(_ text: String, to name: String) throws -> String {
        let path = "\(self.path)/\(name)"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    func records(_ change: (inout RecordsConfiguration) -> Void = { _ in }) throws -> Records {
        var configuration = RecordsConfiguration(state: self.state, key: .file(self.path + "/records.key"))
        configuration.commitWindow = .zero
        change(&configuration)
        return try Records(configuration, logger: quiet)
    }

    func journal(_ change: (inout AuditConfiguration) -> Void = { _ in }) throws -> AuditJournal {
        var configuration = AuditConfiguration(
            state: self.state,
            node: "edge-1",
            signingKey: .file(self.path + "/audit.key")
        )
        configuration.retryInterval = .milliseconds(1)
        // Checkpoints come where a test asks for them, however slow the machine is.
        configuration.checkpointInterval = .seconds(86_400)
        change(&configuration)
        return try AuditJournal(configuration, logger: quiet)
    }

    func verify(anchor: JournalAnchor? = nil) throws -> JournalVerification {
        let trust = try JournalTrust(signingKey: .file(self.path + "/audit.key"))
        return try JournalVerifier(state: self.state, trust: trust).verify(anchor: anchor)
    }

    /// Every byte of every file below the folder.
    func allBytes() throws -> Data {
        var all = Data()
        let files = try #require(FileManager.default.enumerator(atPath: self.path))
        for case let name as String in files {
            if let data = FileManager.default.contents(atPath: "\(self.path)/\(name)") { all += data }
        }
        return all
    }
}

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A reproducible generator (SplitMix64); tests print its seed.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// The `index`-th ICCID of a made-up operator, check digit included.
func iccid(_ index: Int, digits: Int = 19) -> String {
    let stem = "89883" + String(repeating: "0", count: digits - 6 - String(index).count) + String(index)
    var sum = 0
    for (position, digit) in stem.reversed().enumerated() {
        let value = digit.wholeNumberValue ?? 0
        let weighted = position.isMultiple(of: 2) ? value * 2 : value
        sum += weighted > 9 ? weighted - 9 : weighted
    }
    return stem + String((10 - sum % 10) % 10)
}

let keyDigits = "00112233445566778899aabbccddeeff"

func fields(_ index: Int, _ more: [SIMField: String] = [:]) -> SIMFields {
    var values: [SIMField: String] = [.iccid: iccid(index), .key: keyDigits]
    values.merge(more) { $1 }
    return SIMFields(values)
}

func credential(
    _ name: String,
    sim: Int = 1,
    server: String = "meters",
    at time: Int64 = WallClock.microseconds()
) throws -> OneTimeCredential {
    OneTimeCredential(
        identity: try #require(PSKIdentity(name)),
        key: Secret((0..<16).map { UInt8($0) ^ (name.utf8.first ?? 0) }),
        iccid: iccid(sim),
        endpoint: "ep-\(sim)",
        server: server,
        shortServerID: 1111,
        state: .pending,
        mintedAt: time
    )
}

/// Wall clock that a test sets.
final class ManualClock: Sendable {
    private let box: Box

    private final class Box: @unchecked Sendable {
        // Unchecked because every access holds the lock.
        let lock = NSLock()
        var time: Int64 = 1_700_000_000_000_000
    }

    init() { self.box = Box() }

    var now: Int64 {
        get { self.box.lock.withLock { self.box.time } }
        set { self.box.lock.withLock { self.box.time = newValue } }
    }

    func advance(days: Int64) { self.now += days * 86_400_000_000 }
}

extension Records {
    /// One pass over the marks, and what it ended.
    @discardableResult
    func revoked() async throws -> [RevokedCredential] {
        var all: [RevokedCredential] = []
        _ = try await self.applyRevocations { all += $0 }
        return all
    }

    /// One sweep, and what it ended.
    @discardableResult
    func swept() async throws -> [OneTimeCredential] {
        var all: [OneTimeCredential] = []
        try await self.sweep { all += $0 }
        return all
    }
}
