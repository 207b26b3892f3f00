internal import Foundation
internal import GRDB
internal import Gateway
internal import Secrets

extension SIMStore {
    /// A mark that ends the credentials of a SIM which were minted up to a time.
    struct Revocation: Sendable, Equatable {
        var iccid: String
        /// Only those of this server; nil: of all.
        var server: String?
        /// Only this one; nil: all.
        var identity: PSKIdentity?
        /// Wall clock, microseconds since 1970.
        var at: Int64
        /// Whether the SIM is active again, so that newer credentials may be good ones. If it is not, all end, even
        /// those that a clock which was set back would date later than the mark.
        var isLive: Bool
        var cause: FailureCause
        /// It was applied before.
        var isApplied: Bool

        var isNarrow: Bool { self.server != nil || self.identity != nil }
    }

    /// Marks that were never applied, those from before `span`, which are applied a last time, and those from behind it,
    /// which a clock that was set back has left: they would end what is minted from now on.
    func pendingRevocations(outside span: ClosedRange<Int64>, limit: Int) throws(RecordsError) -> [Revocation] {
        try self.file.translating {
            try self.pool.read { db in
                let marks = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT r.iccid, r.at, ifnull(s.status, ''), r.cause, r.applied FROM revocations r \
                        LEFT JOIN sims s ON s.iccid = r.iccid WHERE r.applied = 0 OR r.at < ? OR r.at > ? LIMIT ?
                        """,
                    arguments: [span.lowerBound, span.upperBound, limit]
                ).map {
                    Revocation(
                        iccid: try $0.decode(atIndex: 0), server: nil, identity: nil, at: try $0.decode(atIndex: 1),
                        isLive: try $0.decode(String.self, atIndex: 2) == SIMRecord.Status.active.rawValue,
                        cause: try $0.decode(String?.self, atIndex: 3).flatMap(FailureCause.init(rawValue:))
                            ?? .revoked,
                        isApplied: try $0.decode(atIndex: 4)
                    )
                }
                let narrow = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT iccid, server, identity, at, applied FROM narrow_revocations \
                        WHERE applied = 0 OR at < ? OR at > ? LIMIT ?
                        """,
                    arguments: [span.lowerBound, span.upperBound, limit - marks.count]
                ).map {
                    let server = try $0.decode(String.self, atIndex: 1)
                    return Revocation(
                        iccid: try $0.decode(atIndex: 0), server: server.isEmpty ? nil : server,
                        identity: PSKIdentity(try $0.decode(Data.self, atIndex: 2)), at: try $0.decode(atIndex: 3),
                        isLive: true, cause: .revoked, isApplied: try $0.decode(atIndex: 4)
                    )
                }
                return marks + narrow
            }
        }
    }

    /// Remembers that `marks` were applied; those outside of `span` go. One that was renewed meanwhile stays.
    func settleRevocations(_ marks: [Revocation], outside span: ClosedRange<Int64>) throws(RecordsError) {
        try self.file.translating {
            try self.pool.write { db in
                for mark in marks {
                    let (table, condition) =
                        mark.isNarrow
                        ? ("narrow_revocations", "iccid = ? AND at = ? AND server = ? AND identity = ?")
                        : ("revocations", "iccid = ? AND at = ?")
                    let change = !span.contains(mark.at) ? "DELETE FROM \(table)" : "UPDATE \(table) SET applied = 1"
                    var arguments: StatementArguments = [mark.iccid, mark.at]
                    if mark.isNarrow {
                        arguments += [mark.server ?? "", mark.identity.map { Data($0.bytes) } ?? Data()]
                    }
                    try db.cachedStatement(sql: "\(change) WHERE \(condition)").execute(arguments: arguments)
                }
            }
        }
    }
}
