internal import Crypto

/// What chains a line to its neighbours, read from the raw bytes without parsing the rest.
///
/// The key order is fixed and texts hold no bare quote, so number and hashes stand at known places of the line.
struct AuditFrame {
    let seq: UInt64
    /// 64 lower-case hexadecimal digits, as they stand in the line.
    let previous: [UInt8]
    let hash: [UInt8]
    /// The hash that the line's bytes really have.
    let computedHash: [UInt8]
    let isCheckpoint: Bool

    /// The record is as it was written, if its own hash can be believed.
    var isSound: Bool { self.hash == self.computedHash }

    private static let beforeSeq = Array("{\"seq\":".utf8)
    private static let afterSeq = Array(",\"time\":\"".utf8)
    private static let beforePrevious = Array(",\"previous\":\"".utf8)
    private static let beforeHash = Array("\",\"hash\":\"".utf8)
    private static let afterHash = Array("\"}".utf8)
    private static let eventKey = Array(",\"event\":\"".utf8)
    private static let checkpoint = Array("\(AuditCheckpoint.event)\"".utf8)
    /// `,"hash":"`, 64 digits, `"}`.
    private static let hashLength = 75

    /// Nil when `line`, without its line feed, does not have the form of a record.
    init?(_ line: [UInt8]) {
        var end = line.count
        func take(_ bytes: [UInt8]) -> Bool {
            guard end >= bytes.count, line[end - bytes.count..<end].elementsEqual(bytes) else { return false }
            end -= bytes.count
            return true
        }
        func takeDigits() -> [UInt8]? {
            guard end >= 64 else { return nil }
            let digits = Array(line[end - 64..<end])
            end -= 64
            let isDigit: (UInt8) -> Bool = {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
            return digits.allSatisfy(isDigit) ? digits : nil
        }
        guard line.starts(with: Self.beforeSeq), take(Self.afterHash), let hash = takeDigits(), take(Self.beforeHash),
            let previous = takeDigits(), take(Self.beforePrevious)
        else { return nil }
        var position = Self.beforeSeq.count
        var seq: UInt64 = 0
        while position < end, case UInt8(ascii: "0")...UInt8(ascii: "9") = line[position] {
            let (product, overflow) = seq.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(line[position] - UInt8(ascii: "0")))
            guard !overflow, !carry, seq > 0 || line[position] != UInt8(ascii: "0") else { return nil }
            seq = sum
            position += 1
        }
        guard seq > 0, seq < .max, line[position..<end].starts(with: Self.afterSeq),
            let event = Self.find(Self.eventKey, in: line[position..<end])
        else { return nil }
        self.seq = seq
        self.previous = previous
        self.hash = hash
        self.isCheckpoint = line[event..<end].starts(with: Self.checkpoint)
        var function = SHA256()
        line.withUnsafeBytes {
            function.update(bufferPointer: UnsafeRawBufferPointer(rebasing: $0[..<(line.count - Self.hashLength)]))
        }
        withUnsafeBytes(of: UInt8(ascii: "}")) { function.update(bufferPointer: $0) }
        var computed: [UInt8] = []
        computed.reserveCapacity(64)
        AuditText.appendHexadecimal(function.finalize(), to: &computed)
        self.computedHash = computed
    }

    /// Where `pattern`, which begins with a comma, first ends in `bytes`.
    private static func find(_ pattern: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
        var index = bytes.startIndex
        while index + pattern.count <= bytes.endIndex {
            if bytes[index] == pattern[0], bytes[index..<index + pattern.count].elementsEqual(pattern) {
                return index + pattern.count
            }
            index += 1
        }
        return nil
    }
}
