internal import Gateway

/// What a journal says of a time: who was refused or would have been, which accounts became what, who has no record, and
/// what the configuration lacks. In `enforce` it sums up what was done, in log-and-audit mode what would have been.
///
/// One pass over the journal in bounded memory: every table has a limit, and what comes beyond it is counted.
package struct JournalReport: Sendable, Equatable {
    /// What became of a request that should not have passed.
    package enum Outcome: String, Sendable, CaseIterable {
        case refused
        case wouldRefuse = "would-refuse"
        case notObservable = "not-observable"
    }

    package struct Refusal: Hashable, Sendable {
        package var outcome: Outcome
        /// A cause of the journal.
        package var cause: String
        /// Of a registration and not of a bootstrap.
        package var isRegistration: Bool
    }

    /// What became of one kind of account.
    package struct Rewrite: Hashable, Sendable {
        /// Name of the entry in `servers`, `bootstrap`, or `server` for one without an entry.
        package var account: String
        package var shortServerID: Int64
        package var from: String
        package var to: String
        /// It only would have become that.
        package var isWouldBe: Bool
    }

    /// Something that the configuration lacks, in the words of the refusal.
    package struct Lack: Hashable, Sendable {
        package var reason: String
    }

    /// A device of which nobody has written anything down.
    package struct Stranger: Hashable, Sendable {
        /// Source address of a plain device; empty for one over DTLS.
        package var address: String
        /// What it calls itself; empty if it does not.
        package var endpoint: String
        /// Shortened PSK identity of a device over DTLS; empty for a plain one.
        package var identity: String
    }

    /// What was counted under one key.
    package struct Count: Sendable, Equatable {
        package var times = 0
        /// Different devices, as far as they were told apart.
        package var devices = 0
        package var first = ""
        package var last = ""
        /// Its place among the keys of the table, by when they came.
        var order = 0
        /// The first few devices.
        package var examples: [String] = []
    }

    /// Different keys that a table holds.
    package static let rows = 1_000
    /// Devices without a record that are listed.
    package static let strangerRows = 50_000
    /// Devices that one row tells apart.
    package static let devicesPerRow = 10_000
    /// The same for all rows of a table together.
    package static let devicesPerTable = 200_000
    package static let examples = 5

    package var records = 0
    /// Records of log-and-audit mode.
    package var watched = 0
    /// Lines that are no records.
    package var unreadable = 0
    /// Times of the first and the last record, UTC.
    package var first = ""
    package var last = ""
    package var requested = 0
    package var finished = 0
    package var failed = Table<String>(limit: rows)
    package var refusals = Table<Refusal>(limit: rows)
    package var rewrites = Table<Rewrite>(limit: rows)
    package var lacks = Table<Lack>(limit: rows)
    package var strangers = Table<Stranger>(limit: strangerRows, devicesPerRow: 0)

    package init() {}

    /// Counts by key. Beyond its limit it only counts what it leaves out.
    package struct Table<Key: Hashable & Sendable>: Sendable, Equatable {
        private let limit: Int
        private let devicesPerRow: Int
        private var counts: [Key: Count] = [:]
        private var seen: [Key: Set<Int>] = [:]
        private var toldApart = 0
        /// Times that found no row.
        package private(set) var others = 0

        init(limit: Int, devicesPerRow: Int = JournalReport.devicesPerRow) {
            self.limit = limit
            self.devicesPerRow = devicesPerRow
        }

        /// The most frequent first; those of equal number by when they came first.
        package var rows: [(key: Key, count: Count)] {
            self.counts.sorted { ($1.value.times, $0.value.order) < ($0.value.times, $1.value.order) }
                .map { ($0.key, $0.value) }
        }

        package var isEmpty: Bool { self.counts.isEmpty }

        /// `device` is remembered by its hash alone.
        mutating func note(_ key: Key, device: String, at time: String) {
            guard self.counts.count < self.limit || self.counts[key] != nil else {
                self.others += 1
                return
            }
            var count = self.counts[key] ?? Count(first: time, order: self.counts.count)
            count.times += 1
            count.last = time
            if self.devicesPerRow > 0, !device.isEmpty, self.toldApart < JournalReport.devicesPerTable,
                self.seen[key, default: []].count < self.devicesPerRow,
                self.seen[key, default: []].insert(device.hashValue).inserted
            {
                count.devices += 1
                self.toldApart += 1
                if count.examples.count < JournalReport.examples { count.examples.append(device) }
            }
            self.counts[key] = count
        }
    }
}

extension JournalReader {
    /// Sums up what was recorded from `since` on and before `until`, both microseconds since 1970.
    package func report(since: Int64? = nil, until: Int64? = nil) throws -> JournalReport {
        var filter = JournalFilter()
        filter.since = since
        filter.until = until
        var report = JournalReport()
        for number in try self.segments.numbers() {
            guard var reader = try self.segments.reader(number) else { continue }
            while let line = try reader.next() {
                guard line.isComplete else { continue }
                line.bytes.withUnsafeBytes { line in
                    guard let fields = JournalFields(line) else {
                        report.unreadable += 1
                        return
                    }
                    if filter.matches(fields) { report.add(fields) }
                }
            }
        }
        return report
    }
}

extension JournalReport {
    fileprivate mutating func add(_ fields: JournalFields) {
        let time = String(decoding: fields.time, as: UTF8.self)
        self.records += 1
        if self.first.isEmpty { self.first = time }
        self.last = time
        let isWatched = fields.detail.ends(with: Self.auditMark.utf8)
        if isWatched { self.watched += 1 }
        if fields.event.isText("bootstrap.requested") {
            self.requested += 1
        } else if fields.event.isText("bootstrap.finished") {
            self.finished += 1
        } else if fields.event.isText("bootstrap.failed") {
            self.failed.note(fields.cause?.recordText ?? "", device: Self.device(fields), at: time)
        } else if fields.event.isText("bootstrap.written") {
            self.addAccount(fields, isWatched: isWatched, at: time)
        } else if fields.event.isText("bootstrap.refused") || fields.event.isText("registration.refused") {
            self.addRefusal(fields, at: time)
        }
    }

    private static let auditMark = "\"mode\":\"audit\"}"

    /// As people know it: ICCID, what it calls itself, where it came from.
    private static func device(_ fields: JournalFields) -> String {
        if let iccid = fields.iccid { return iccid.recordText }
        let host = fields.peer.map { Self.host($0.recordText) }
        let name = fields.endpoint.map { $0.recordText }.flatMap { $0.isEmpty ? nil : "ep \($0)" }
        return [name, host.map { "from \($0)" }].compactMap(\.self).joined(separator: " ")
    }

    private static func host(_ peer: String) -> String {
        guard let colon = peer.lastIndex(of: ":") else { return peer }
        return String(peer[..<colon].drop { $0 == "[" }.prefix { $0 != "]" })
    }

    private mutating func addAccount(_ fields: JournalFields, isWatched: Bool, at time: String) {
        guard let detail = try? JSONReader.read(Array(fields.detail)) else { return }
        let rewrite = Rewrite(
            account: detail["account"]?.text ?? "", shortServerID: detail["ssid"]?.integer ?? 0,
            from: Self.account(detail["before"]), to: Self.account(detail["after"]),
            isWouldBe: isWatched && detail["device-got"]?.text != "after"
        )
        self.rewrites.note(rewrite, device: Self.device(fields), at: time)
    }

    private static func account(_ value: JSONValue?) -> String {
        let parts = [value?["uri"]?.text, value?["security"]?.text].compactMap(\.self)
        return parts.joined(separator: " ")
    }

    private mutating func addRefusal(_ fields: JournalFields, at time: String) {
        guard let detail = try? JSONReader.read(Array(fields.detail)), let cause = fields.cause?.recordText else {
            return
        }
        let refusal = Refusal(
            outcome: detail["outcome"]?.text.flatMap(Outcome.init) ?? .refused, cause: cause,
            isRegistration: fields.event.isText("registration.refused")
        )
        let device = Self.device(fields)
        self.refusals.note(refusal, device: device, at: time)
        switch FailureCause(rawValue: cause) {
        case .noRouteForServer:
            self.lacks.note(Lack(reason: detail["reason"]?.text ?? cause), device: device, at: time)
        case .unauthorized where fields.iccid == nil && !refusal.isRegistration:
            let stranger = Stranger(
                address: fields.peer.map { Self.host($0.recordText) } ?? "",
                endpoint: fields.endpoint?.recordText ?? "", identity: ""
            )
            self.strangers.note(stranger, device: "", at: time)
        case .unknownIdentity:
            let identity = detail["identity"]?.text ?? ""
            self.strangers.note(Stranger(address: "", endpoint: "", identity: identity), device: "", at: time)
        default: break
        }
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func ends(with text: String.UTF8View) -> Bool {
        self.count >= text.count && self.suffix(text.count).elementsEqual(text)
    }
}
