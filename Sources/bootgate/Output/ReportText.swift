internal import Foundation
internal import Gateway
internal import Records

/// A report of the journal, for people and for programs.
enum ReportText {
    /// Rows of one part that a person sees; `--json` has all.
    private static let shown = 20

    static func lines(_ report: JournalReport) -> [String] {
        guard report.records > 0 else { return ["no records in this time"] }
        var lines = [
            "\(Self.moment(report.first)) to \(Self.moment(report.last)): \(report.records) record\(report.records == 1 ? "" : "s"), "
                + "\(report.watched) of them in mode audit",
            "bootstraps: \(report.requested) requested, \(report.finished) finished, "
                + "\(report.failed.rows.reduce(report.failed.others) { $0 + $1.count.times }) failed",
        ]
        lines += Self.refusals(report, .wouldRefuse, "enforce would have refused:")
        lines += Self.refusals(report, .notObservable, "not observable, over DTLS without the right key:")
        lines += Self.refusals(report, .refused, "refused:")
        lines += Self.part("failed on the way:", report.failed.rows, report.failed.others) { cause, count in
            Self.cause(cause, count)
        }
        lines += Self.part("the configuration lacks:", report.lacks.rows, report.lacks.others) { lack, count in
            ["  \(lack.reason)", "      \(Self.times(count))"]
        }
        lines += Self.part("accounts:", report.rewrites.rows, report.rewrites.others) { rewrite, count in
            let verb = rewrite.isWouldBe ? "would become" : "became"
            let isSame = rewrite.from == rewrite.to
            return [
                "  \(rewrite.account), short server ID \(rewrite.shortServerID): \(Self.times(count))",
                "      \(rewrite.from)" + (isSame ? ", unchanged" : " \(verb) \(rewrite.to)"),
            ]
        }
        lines += Self.part("devices without a record:", report.strangers.rows, report.strangers.others) { one, count in
            let who =
                one.address.isEmpty
                ? "identity \(one.identity)"
                : "address \(one.address)" + (one.endpoint.isEmpty ? "" : "  ep \(one.endpoint)")
            return ["  \(who)  \(Self.times(count)), last \(Self.moment(count.last))"]
        }
        if report.strangers.rows.contains(where: { !$0.key.address.isEmpty }) {
            lines.append("  --csv FILE writes the plain ones in the form of `bootgate sim import`")
        }
        if report.refusals.isEmpty, report.lacks.isEmpty, report.strangers.isEmpty {
            lines += ["", "nothing was refused, nothing is missing"]
        }
        return lines
    }

    private static func refusals(
        _ report: JournalReport, _ outcome: JournalReport.Outcome, _ title: String
    ) -> [String] {
        let rows = report.refusals.rows.filter { $0.key.outcome == outcome }
        let others = outcome == .refused ? report.refusals.others : 0
        return Self.part(title, rows, others) { refusal, count in
            Self.cause(refusal.cause + (refusal.isRegistration ? " (registration)" : ""), of: refusal.cause, count)
        }
    }

    private static func cause(_ name: String, of cause: String? = nil, _ count: JournalReport.Count) -> [String] {
        var lines = ["  \(name): \(Self.times(count))"]
        if !count.examples.isEmpty {
            let more = count.devices > count.examples.count ? ", …" : ""
            lines.append("      \(count.examples.joined(separator: ", "))\(more)")
        }
        if let known = FailureCause(rawValue: cause ?? name) { lines.append("      what to do: \(known.remedy)") }
        return lines
    }

    private static func part<Key>(
        _ title: String, _ rows: [(key: Key, count: JournalReport.Count)], _ others: Int,
        _ line: (Key, JournalReport.Count) -> [String]
    ) -> [String] {
        guard !rows.isEmpty else { return [] }
        var lines = ["", title] + rows.prefix(Self.shown).flatMap { line($0.key, $0.count) }
        let left = rows.count - Self.shown
        if left > 0 { lines.append("  and \(left) more; --json has all") }
        if others > 0 { lines.append("  and \(others) times something that is not listed any more") }
        return lines
    }

    private static func times(_ count: JournalReport.Count) -> String {
        let times = count.times == 1 ? "once" : "\(count.times) times"
        guard count.devices > 0 else { return times }
        let most = count.devices >= JournalReport.devicesPerRow ? "at least " : ""
        return times + ", \(most)\(count.devices) \(count.devices == 1 ? "device" : "devices")"
    }

    /// To the second.
    private static func moment(_ time: String) -> String { time.prefix(19) + "Z" }

    // MARK: - For programs

    static func object(_ report: JournalReport) -> [String: Any] {
        [
            "records": report.records, "records-in-audit-mode": report.watched, "unreadable": report.unreadable,
            "first": report.first, "last": report.last,
            "bootstraps": [
                "requested": report.requested, "finished": report.finished,
                "failed": report.failed.rows.map { Self.count($0.count, ["cause": $0.key]) },
            ],
            "refusals": report.refusals.rows.map { row in
                Self.count(
                    row.count,
                    [
                        "outcome": row.key.outcome.rawValue, "cause": row.key.cause,
                        "of": row.key.isRegistration ? "registration" : "bootstrap",
                    ])
            },
            "accounts": report.rewrites.rows.map { row in
                Self.count(
                    row.count,
                    [
                        "account": row.key.account, "ssid": row.key.shortServerID, "from": row.key.from,
                        "to": row.key.to, "would-be": row.key.isWouldBe,
                    ])
            },
            "lacks": report.lacks.rows.map { Self.count($0.count, ["reason": $0.key.reason]) },
            "devices-without-record": report.strangers.rows.map { row in
                let all = ["address": row.key.address, "endpoint": row.key.endpoint, "identity": row.key.identity]
                return Self.count(row.count, all.filter { !$0.value.isEmpty })
            },
            "not-listed": [
                "failed": report.failed.others, "refusals": report.refusals.others,
                "accounts": report.rewrites.others, "lacks": report.lacks.others,
                "devices-without-record": report.strangers.others,
            ],
        ]
    }

    private static func count(_ count: JournalReport.Count, _ key: [String: Any]) -> [String: Any] {
        var object = key
        object["times"] = count.times
        object["first"] = count.first
        object["last"] = count.last
        if count.devices > 0 {
            object["devices"] = count.devices
            object["examples"] = count.examples
        }
        return object
    }
}
