internal import Crypto
internal import Gateway

/// Writes records in their canonical form, numbers them and chains them. Pure: bytes gather in ``bytes`` until the
/// owner has put them on disk.
///
/// **Canonical form.** One JSON object on one line without white space outside of texts, with these keys in this order,
/// those without a value left out:
/// `seq`, `time`, `node`, `event`, `cause`, `iccid`, `endpoint`, `peer`, `upstream`, `session`, `detail`, `previous`.
/// - `seq` and `session` are decimal integers; `seq` begins with 1 and grows by 1, over restarts and segments.
/// - `time` is ISO 8601, UTC, with six digits after the second.
/// - `detail` is an object whose keys stand in the order in which the event gave them; it is left out when empty.
/// - Texts are escaped as ``AuditText`` says and nowhere else.
/// - `previous` is the hash of the record before, 64 lower-case hexadecimal digits; 64 zeros in the first record.
///
/// The hash of a record is the SHA-256 of exactly these bytes, from `{` to `}`. The line in the journal is the same with
/// `,"hash":"` and the 64 digits and `"` put in before the closing brace, and a line feed after it. So whoever checks a
/// line takes its last 75 bytes away, adds `}` and hashes.
struct AuditLineEncoder {
    /// Lines that were encoded since ``removeAll()``.
    private(set) var bytes: [UInt8] = []
    /// Number of the last record; 0 before the first.
    private(set) var seq: UInt64
    /// Hash of the last record, as 64 digits.
    private(set) var hash: [UInt8]

    /// `","node":"…","event":"`: what stands between the time and the name of every record.
    private let beforeEvent: [UInt8]
    /// The second of the last record and its first 19 characters: most records share it with the one before.
    private var second: Int64 = -1
    private var secondText: [UInt8] = []

    static let firstPrevious = [UInt8](repeating: UInt8(ascii: "0"), count: 64)

    init(node: String, seq: UInt64, hash: [UInt8]) {
        self.seq = seq
        self.hash = hash
        var text = Array("\",\"node\":".utf8)
        AuditText.append(node, to: &text)
        text.append(contentsOf: ",\"event\":\"".utf8)
        self.beforeEvent = text
    }

    mutating func removeAll() { self.bytes.removeAll(keepingCapacity: self.bytes.capacity <= 1 << 20) }

    mutating func append(_ event: AuditEvent) {
        let start = self.begin(event: event.name.rawValue, time: event.time)
        if let cause = event.cause { self.append(",\"cause\":", cause.rawValue) }
        if let iccid = event.iccid { self.append(",\"iccid\":", iccid) }
        if let endpoint = event.endpoint { self.append(",\"endpoint\":", endpoint) }
        if let peer = event.peer { self.append(",\"peer\":", peer) }
        if let upstream = event.upstream { self.append(",\"upstream\":", upstream) }
        if let session = event.session {
            self.append(",\"session\":")
            self.bytes.append(contentsOf: String(session).utf8)
        }
        self.finish(start, detail: event.detail)
    }

    /// Appends a record of the journal's own, whose name is not one of the data path's.
    mutating func append(_ event: String, time: Int64, detail: [AuditEvent.Field]) {
        let start = self.begin(event: event, time: time)
        self.finish(start, detail: detail)
    }

    private mutating func begin(event: String, time: Int64) -> Int {
        let start = self.bytes.count
        self.seq &+= 1
        self.append("{\"seq\":")
        self.bytes.append(contentsOf: String(self.seq).utf8)
        self.append(",\"time\":\"")
        self.append(time: time)
        self.bytes.append(contentsOf: self.beforeEvent)
        self.bytes.append(contentsOf: event.utf8)
        self.bytes.append(UInt8(ascii: "\""))
        return start
    }

    private mutating func finish(_ start: Int, detail: [AuditEvent.Field]) {
        if !detail.isEmpty {
            self.append(",\"detail\":")
            self.append(.object(detail))
        }
        self.append(",\"previous\":\"")
        self.bytes.append(contentsOf: self.hash)
        self.append("\"}")
        var function = SHA256()
        self.bytes.withUnsafeBytes { function.update(bufferPointer: UnsafeRawBufferPointer(rebasing: $0[start...])) }
        self.hash.removeAll(keepingCapacity: true)
        AuditText.appendHexadecimal(function.finalize(), to: &self.hash)
        self.bytes.removeLast()
        self.append(",\"hash\":\"")
        self.bytes.append(contentsOf: self.hash)
        self.append("\"}\n")
    }

    private mutating func append(_ value: AuditEvent.Value) {
        switch value {
        case .text(let text): AuditText.append(text, to: &self.bytes)
        case .integer(let number): self.bytes.append(contentsOf: String(number).utf8)
        case .boolean(let flag): self.append(flag ? "true" : "false")
        case .list(let values):
            self.bytes.append(UInt8(ascii: "["))
            for (index, element) in values.enumerated() {
                if index > 0 { self.bytes.append(UInt8(ascii: ",")) }
                self.append(element)
            }
            self.bytes.append(UInt8(ascii: "]"))
        case .object(let fields):
            self.bytes.append(UInt8(ascii: "{"))
            for (index, field) in fields.enumerated() {
                if index > 0 { self.bytes.append(UInt8(ascii: ",")) }
                AuditText.append(field.key, to: &self.bytes)
                self.bytes.append(UInt8(ascii: ":"))
                self.append(field.value)
            }
            self.bytes.append(UInt8(ascii: "}"))
        }
    }

    private mutating func append(time: Int64) {
        let time = AuditTime.clamped(time)
        let second = time / 1_000_000
        guard second == self.second else {
            let start = self.bytes.count
            AuditTime.append(time, to: &self.bytes)
            self.second = second
            self.secondText = Array(self.bytes[start..<start + 20])
            return
        }
        self.bytes.append(contentsOf: self.secondText)
        var fraction = UInt32(truncatingIfNeeded: time % 1_000_000)
        let start = self.bytes.count
        self.append("000000Z")
        for index in 0..<6 {
            self.bytes[start + 5 - index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: fraction % 10)
            fraction /= 10
        }
    }

    @inline(__always)
    private mutating func append(_ text: StaticString) {
        self.bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    @inline(__always)
    private mutating func append(_ key: StaticString, _ text: String) {
        self.append(key)
        AuditText.append(text, to: &self.bytes)
    }
}
