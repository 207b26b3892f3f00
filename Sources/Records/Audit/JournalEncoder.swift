internal import Crypto
internal import Gateway

/// Turns events into lines of the journal and chains them.
///
/// **The canonical form.** A record is one line of UTF-8 JSON with exactly these members in this order, no space between
/// tokens, and null where a member has no value:
///
///     {"seq":7,"time":"2026-01-31T12:00:00.000001Z","node":"edge-1","event":"bootstrap.refused",
///      "cause":"suspended","iccid":"8988303000000000007","endpoint":null,"peer":"192.0.2.1:49152",
///      "upstream":null,"session":12,"detail":{},"previous":"<64 digits>","hash":"<64 digits>"}
///
/// `hash` is the SHA-256 of the line without its line feed and without `,"hash":"…"`; `previous` is the `hash` of the
/// record before, in the segment before where this is the first of its own, or 64 zeros in the very first record. So a
/// line can be checked with common tools: `sed 's/,"hash":"[0-9a-f]*"}$/}/' | tr -d '\n' | sha256sum`.
///
/// **Checkpoints** are records like the others with the event `journal.checkpoint`. Their `detail` has `key`, the Ed25519
/// public key, and `signature`, over the text of ``checkpointText(seq:time:node:previous:)``. By its `previous` a
/// checkpoint vouches for everything before it.
struct JournalEncoder {
    /// The event of a checkpoint.
    static let checkpointEvent = "journal.checkpoint"
    /// A record above this many bytes loses its detail.
    static let lineLimit = 256 * 1024
    static let noHash = JournalHash.zero

    /// The next record's number, from 1.
    private(set) var seq: UInt64
    /// SHA-256 of the record before, in lower-case digits: each is written twice.
    private var previous: [UInt8]
    /// Lines that were not written yet.
    var lines = JSONWriter()

    private let node: String
    /// From the end of the time to the beginning of the event, the same in every record.
    private let nodeMember: [UInt8]
    private var time = JournalTime()

    init(node: String, seq: UInt64, previous: JournalHash) {
        self.node = node
        var writer = JSONWriter()
        writer.raw("\",\"node\":")
        writer.text(node)
        writer.raw(",\"event\":")
        self.nodeMember = writer.bytes
        self.seq = seq
        self.previous = Array(previous.text.utf8)
    }

    mutating func append(_ event: AuditEvent) {
        let start = self.lines.count
        self.fields(of: event)
        self.lines.raw(",\"detail\":")
        self.lines.object(event.detail)
        if self.lines.count - start > Self.lineLimit {
            self.lines.truncate(to: start)
            self.fields(of: event)
            self.lines.raw(",\"detail\":{\"truncated\":true}")
        }
        self.seal(from: start)
    }

    mutating func appendCheckpoint(at time: Int64, signedBy key: JournalKey) throws {
        let text = Self.checkpointText(
            seq: self.seq,
            time: JournalTime.text(time),
            node: self.node,
            previous: String(decoding: self.previous, as: UTF8.self)
        )
        let signature = try key.sign(text)
        let start = self.lines.count
        self.head(time, event: Self.checkpointEvent)
        self.lines.raw(
            ",\"cause\":null,\"iccid\":null,\"endpoint\":null,\"peer\":null,\"upstream\":null,\"session\":null"
        )
        self.lines.raw(",\"detail\":{\"key\":\"")
        self.lines.hexadecimal(key.publicKey)
        self.lines.raw("\",\"signature\":\"")
        self.lines.hexadecimal(signature)
        self.lines.raw("\"}")
        self.seal(from: start)
    }

    /// What a checkpoint signs: a line that says what it is, then number, time, node and `previous` of the checkpoint's
    /// own record, each with a line feed behind it.
    static func checkpointText(seq: UInt64, time: String, node: String, previous: String) -> [UInt8] {
        Array("bootgate audit checkpoint 1\n\(seq)\n\(time)\n\(node)\n\(previous)\n".utf8)
    }

    private mutating func head(_ time: Int64, event: String) {
        self.lines.raw("{\"seq\":")
        self.lines.integer(self.seq)
        self.lines.raw(",\"time\":\"")
        self.time.write(time, to: &self.lines)
        self.lines.raw(self.nodeMember)
        self.lines.text(event)
    }

    private mutating func fields(of event: AuditEvent) {
        self.head(event.time, event: event.name.rawValue)
        self.field(",\"cause\":", event.cause?.rawValue)
        self.field(",\"iccid\":", event.iccid)
        self.field(",\"endpoint\":", event.endpoint)
        self.field(",\"peer\":", event.peer)
        self.field(",\"upstream\":", event.upstream)
        self.lines.raw(",\"session\":")
        if let session = event.session { self.lines.integer(session) } else { self.lines.raw("null") }
    }

    private mutating func field(_ name: StaticString, _ text: String?) {
        self.lines.raw(name)
        if let text { self.lines.text(text) } else { self.lines.raw("null") }
    }

    /// Ends the record that began at `start`.
    private mutating func seal(from start: Int) {
        self.lines.raw(",\"previous\":\"")
        self.lines.raw(self.previous)
        self.lines.raw("\"}")
        let hash = self.lines.withUnsafeBytes { SHA256.hash(data: UnsafeRawBufferPointer(rebasing: $0[start...])) }
        self.lines.truncate(to: self.lines.count - 1)
        self.lines.raw(",\"hash\":\"")
        let digits = self.lines.count
        hash.withUnsafeBytes { self.lines.hexadecimal($0) }
        self.lines.withUnsafeBytes { lines in
            self.previous.withUnsafeMutableBytes { $0.copyBytes(from: lines[digits...]) }
        }
        self.lines.raw("\"}\n")
        self.seq += 1
    }
}

/// Microseconds since 1970 as `2026-01-31T12:00:00.000001Z`.
struct JournalTime {
    /// The second whose text is ready: records of the same second share it.
    private var second: Int64 = .min
    private var prefix: [UInt8] = []

    init() {}

    static func text(_ time: Int64) -> String {
        var journalTime = JournalTime()
        var writer = JSONWriter()
        journalTime.write(time, to: &writer)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    /// A time outside the years 1970 to 9999 is written as the nearest that is inside.
    mutating func write(_ time: Int64, to writer: inout JSONWriter) {
        let time = min(max(time, 0), 253_402_300_799_999_999)
        let second = time / 1_000_000
        if second != self.second {
            self.second = second
            self.prefix = Self.prefix(second)
        }
        writer.raw(self.prefix)
        writer.padded(Int(time % 1_000_000), width: 6)
        writer.raw("Z")
    }

    /// What ``text(_:)`` has written; nil for anything else.
    static func value(_ text: UnsafeRawBufferPointer) -> Int64? {
        guard text.count == 27 else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            text[range].reduce(Int64?.some(0)) { sum, digit in
                (0x30...0x39).contains(digit) ? sum.map { $0 * 10 + Int64(digit - 0x30) } : nil
            }
        }
        guard let year = number(0..<4), let month = number(5..<7), (1...12).contains(month),
            let day = number(8..<10), (1...31).contains(day), let hour = number(11..<13),
            let minute = number(14..<16), let second = number(17..<19), let rest = number(20..<26)
        else { return nil }
        // The way back of `prefix`: years begin in March.
        let marchYear = month > 2 ? year : year - 1
        let era = (marchYear >= 0 ? marchYear : marchYear - 399) / 400
        let yearOfEra = marchYear - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
        let value = seconds * 1_000_000 + rest
        return self.text(value).utf8.elementsEqual(text) ? value : nil
    }

    /// Year, month and day from days since 1970 in the Gregorian calendar: years begin in March, so that the day that
    /// some years have more comes last.
    private static func prefix(_ second: Int64) -> [UInt8] {
        let days = Int(second / 86_400) + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        let rest = Int(second % 86_400)
        var writer = JSONWriter()
        writer.padded(year, width: 4)
        writer.raw("-")
        writer.padded(month, width: 2)
        writer.raw("-")
        writer.padded(day, width: 2)
        writer.raw("T")
        writer.padded(rest / 3_600, width: 2)
        writer.raw(":")
        writer.padded(rest / 60 % 60, width: 2)
        writer.raw(":")
        writer.padded(rest % 60, width: 2)
        writer.raw(".")
        return writer.bytes
    }
}
