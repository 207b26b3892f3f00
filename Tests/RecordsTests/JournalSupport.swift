import Foundation
import Gateway
import Secrets
import Testing

@testable import Records

/// An event as the data path makes them.
func event(_ index: Int, iccid number: String? = iccid(1), detail: [AuditEvent.Field] = []) -> AuditEvent {
    AuditEvent(
        .bootstrapRequested,
        time: 1_700_000_000_000_000 + Int64(index),
        iccid: number,
        endpoint: "ep-\(index)",
        peer: "192.0.2.1:49152",
        session: UInt64(index),
        detail: detail
    )
}

extension Scratch {
    func lines(_ segment: Int = 1) throws -> [String] {
        try String(contentsOfFile: self.segmentPath(segment), encoding: .utf8).split(separator: "\n").map(String.init)
    }

    /// The newest checkpoint.
    func anchor() throws -> JournalAnchor? {
        try JournalAnchor.newest(
            state: self.state, trust: JournalTrust(signingKey: .file(self.path + "/audit.key"))
        )
    }

    func segmentPath(_ number: Int) -> String { "\(self.audit)/\(JournalSegments.name(number))" }

    func bytes(_ segment: Int = 1) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: self.segmentPath(segment))))
    }

    func setBytes(_ bytes: some Collection<UInt8>, _ segment: Int = 1) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: self.segmentPath(segment)))
    }
}
