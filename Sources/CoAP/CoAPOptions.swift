/// The options of one message, sorted by number; options with the same number keep the order in which they were added.
///
/// All of them share one buffer: two bytes of number, two of length, then the value, for each option in turn. So a whole
/// list costs one allocation, and a value is a slice of that buffer.
package struct CoAPOptions: Sendable {
    private var storage: [UInt8]
    /// The number of the last option, 0 without options.
    private var lastNumber: UInt16
    /// How many options there are, repeated ones included.
    package private(set) var count: Int

    static let entryHeader = 4

    package init() {
        self.storage = []
        self.lastNumber = 0
        self.count = 0
    }

    /// Takes over a buffer that is sorted and complete.
    init(storage: [UInt8], lastNumber: UInt16, count: Int) {
        self.storage = storage
        self.lastNumber = lastNumber
        self.count = count
    }

    package var isEmpty: Bool { self.count == 0 }

    /// Bytes of the buffer; the encoded options never need more than this plus one for each option.
    var storedBytes: Int { self.storage.count }

    /// Bytes of the options on the wire (RFC 7252, section 3.1).
    package var encodedBytes: Int {
        var previous: UInt16 = 0
        var total = 0
        self.forEachRaw { number, value in
            total += 1 + Self.extended(Int(number &- previous)) + Self.extended(value.count) + value.count
            previous = number
        }
        return total
    }

    private static func extended(_ value: Int) -> Int { value < 13 ? 0 : value < 269 ? 1 : 2 }

    package mutating func reserveCapacity(options: Int, bytes: Int) {
        self.storage.reserveCapacity(options * Self.entryHeader + bytes)
    }

    /// Adds one option behind those with the same or a lower number.
    ///
    /// - Precondition: at most 65,535 bytes. No datagram can hold more.
    package mutating func append(_ number: CoAPOptionNumber, _ bytes: some Collection<UInt8>) {
        let length = bytes.count
        precondition(length <= Int(UInt16.max), "an option value has at most 65,535 bytes")
        let raw = number.rawValue
        self.count += 1
        guard raw < self.lastNumber else {
            self.lastNumber = raw
            self.storage.append(UInt8(raw >> 8))
            self.storage.append(UInt8(raw & 0xff))
            self.storage.append(UInt8(length >> 8))
            self.storage.append(UInt8(length & 0xff))
            self.storage.append(contentsOf: bytes)
            return
        }
        let header = [UInt8(raw >> 8), UInt8(raw & 0xff), UInt8(length >> 8), UInt8(length & 0xff)]
        var offset = 0
        while offset < self.storage.count, self.number(at: offset) <= raw {
            offset = self.end(at: offset)
        }
        self.storage.insert(contentsOf: header + bytes, at: offset)
    }

    /// Adds an unsigned integer in its shortest form: no leading zero bytes, no byte at all for 0.
    package mutating func append(_ number: CoAPOptionNumber, uint value: UInt32) {
        let skipped = value.leadingZeroBitCount / 8
        let bytes = (
            UInt8(truncatingIfNeeded: value >> 24), UInt8(truncatingIfNeeded: value >> 16),
            UInt8(truncatingIfNeeded: value >> 8), UInt8(truncatingIfNeeded: value)
        )
        withUnsafeBytes(of: bytes) { self.append(number, $0.dropFirst(skipped)) }
    }

    package mutating func append(_ number: CoAPOptionNumber, string: String) {
        self.append(number, string.utf8)
    }

    package mutating func removeAll(_ number: CoAPOptionNumber) {
        self.removeAll { candidate, _ in candidate == number }
    }

    package mutating func removeAll(where isDoomed: (CoAPOptionNumber, ArraySlice<UInt8>) -> Bool) {
        guard self.contains(where: isDoomed) else { return }
        var kept = Self()
        kept.storage.reserveCapacity(self.storage.count)
        for (number, value) in self where !isDoomed(number, value) {
            kept.append(number, value)
        }
        self = kept
    }

    /// Replaces every option of this number by one unsigned integer, or by nothing.
    package mutating func set(_ number: CoAPOptionNumber, uint value: UInt32?) {
        self.removeAll(number)
        if let value {
            self.append(number, uint: value)
        }
    }

    /// The value of the first option with this number.
    package func first(_ number: CoAPOptionNumber) -> ArraySlice<UInt8>? {
        guard number.rawValue <= self.lastNumber else { return nil }
        var offset = 0
        while offset < self.storage.count {
            let candidate = self.number(at: offset)
            if candidate == number.rawValue {
                return self.storage[offset &+ Self.entryHeader..<self.end(at: offset)]
            }
            if candidate > number.rawValue {
                return nil
            }
            offset = self.end(at: offset)
        }
        return nil
    }

    package func contains(_ number: CoAPOptionNumber) -> Bool {
        self.first(number) != nil
    }

    /// The first option with this number as an unsigned integer. Leading zeros are accepted; nil if it does not fit.
    package func uint(_ number: CoAPOptionNumber) -> UInt32? {
        guard let value = self.first(number) else { return nil }
        var result: UInt32 = 0
        for byte in value {
            guard result >> 24 == 0 else { return nil }
            result = result << 8 | UInt32(byte)
        }
        return result
    }

    /// All options with this number as text, in their order; nil if one of them is not UTF-8.
    package func strings(_ number: CoAPOptionNumber) -> [String]? {
        var result: [String] = []
        result.reserveCapacity(self.count(of: number))
        for (candidate, value) in self where candidate == number {
            // ASCII, which is the rule, needs no validation.
            let isASCII = value.allSatisfy { $0 < 0x80 }
            let text = isASCII ? String(decoding: value, as: UTF8.self) : String(validating: value, as: UTF8.self)
            guard let text else { return nil }
            result.append(text)
        }
        return result
    }

    private func count(of number: CoAPOptionNumber) -> Int {
        var (count, offset) = (0, 0)
        while offset < self.storage.count {
            let candidate = self.number(at: offset)
            if candidate > number.rawValue { break }
            if candidate == number.rawValue { count += 1 }
            offset = self.end(at: offset)
        }
        return count
    }

    private func number(at offset: Int) -> UInt16 {
        UInt16(self.storage[offset]) << 8 | UInt16(self.storage[offset &+ 1])
    }

    private func end(at offset: Int) -> Int {
        let length = Int(self.storage[offset &+ 2]) << 8 | Int(self.storage[offset &+ 3])
        return offset &+ Self.entryHeader &+ length
    }
}

extension CoAPOptions: Equatable {
    package static func == (a: Self, b: Self) -> Bool {
        a.storage == b.storage
    }
}

extension CoAPOptions: Sequence {
    package struct Iterator: IteratorProtocol {
        fileprivate let options: CoAPOptions
        fileprivate var offset = 0

        package mutating func next() -> (number: CoAPOptionNumber, value: ArraySlice<UInt8>)? {
            guard self.offset < self.options.storage.count else { return nil }
            let start = self.offset
            self.offset = self.options.end(at: start)
            return (
                CoAPOptionNumber(rawValue: self.options.number(at: start)),
                self.options.storage[start &+ CoAPOptions.entryHeader..<self.offset]
            )
        }
    }

    package func makeIterator() -> Iterator { Iterator(options: self) }

    package var underestimatedCount: Int { self.count }

    /// Walks the options without making slices: for code that runs for every datagram.
    func forEachRaw(_ body: (UInt16, UnsafeBufferPointer<UInt8>) -> Void) {
        self.storage.withUnsafeBufferPointer { bytes in
            var offset = 0
            while offset < bytes.count {
                let number = UInt16(bytes[offset]) << 8 | UInt16(bytes[offset &+ 1])
                let length = Int(bytes[offset &+ 2]) << 8 | Int(bytes[offset &+ 3])
                let start = offset &+ Self.entryHeader
                offset = start &+ length
                body(number, UnsafeBufferPointer(rebasing: bytes[start..<offset]))
            }
        }
    }
}
