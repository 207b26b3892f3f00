/// Why a saved hand-over cannot be read: it is damaged, or another version has written it.
package struct HandoverFormatError: Error, Sendable, Equatable, CustomStringConvertible {
    package let reason: String
    /// Bytes from the start; the first one that does not fit.
    package let offset: Int

    package var description: String { "\(self.reason) at byte \(self.offset)" }
}

/// Numbers in network order, byte strings behind their length.
struct HandoverWriter {
    private(set) var bytes: [UInt8] = []

    /// - Parameter capacity: what is written may be secret, and an array that grows leaves copies behind.
    init(capacity: Int) { self.bytes.reserveCapacity(capacity) }

    mutating func write<Number: FixedWidthInteger & UnsignedInteger>(_ number: Number) {
        withUnsafeBytes(of: number.bigEndian) { self.bytes.append(contentsOf: $0) }
    }

    mutating func write(_ flag: Bool) { self.bytes.append(flag ? 1 : 0) }

    /// What is longer than `limit` was cut off by nobody: callers bound it.
    mutating func write(_ string: some Collection<UInt8>) {
        self.write(UInt16(clamping: string.count))
        self.bytes.append(contentsOf: string.prefix(Int(UInt16.max)))
    }

    mutating func write(_ text: String) { self.write(text.utf8) }

    mutating func write(count: Int) { self.write(UInt32(clamping: count)) }

    mutating func write<Value>(_ value: Value?, _ body: (inout HandoverWriter, Value) -> Void) {
        self.write(value != nil)
        if let value { body(&self, value) }
    }

    /// What `body` appends goes behind its length.
    mutating func writeSized(_ body: (inout [UInt8]) -> Void) {
        let start = self.bytes.count
        self.write(UInt16(0))
        body(&self.bytes)
        let length = UInt16(clamping: self.bytes.count - start - 2)
        self.bytes[start] = UInt8(length >> 8)
        self.bytes[start + 1] = UInt8(length & 0xFF)
    }
}

/// Reads what ``HandoverWriter`` wrote. Every length and count has its bound, and nothing is reserved ahead of what is
/// there.
struct HandoverReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var left: Int { self.bytes.count - self.offset }

    func malformed(_ reason: String) -> HandoverFormatError { HandoverFormatError(reason: reason, offset: self.offset) }

    mutating func read<Number: FixedWidthInteger & UnsignedInteger>(
        _: Number.Type = Number.self
    ) throws(HandoverFormatError) -> Number {
        let size = MemoryLayout<Number>.size
        guard self.left >= size else { throw self.malformed("it ends too early") }
        defer { self.offset += size }
        return Number(bigEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset, as: Number.self))
    }

    mutating func readFlag() throws(HandoverFormatError) -> Bool {
        switch try self.read(UInt8.self) {
        case 0: return false
        case 1: return true
        default: throw self.malformed("a flag is neither 0 nor 1")
        }
    }

    mutating func readCount(limit: Int) throws(HandoverFormatError) -> Int {
        let count = Int(try self.read(UInt32.self))
        // Nothing that is counted is smaller than a byte.
        guard count <= limit, count <= self.left else { throw self.malformed("a count is too large") }
        return count
    }

    mutating func readSlice(limit: Int) throws(HandoverFormatError) -> UnsafeRawBufferPointer {
        let length = Int(try self.read(UInt16.self))
        guard length <= limit else { throw self.malformed("a length is too large") }
        guard length <= self.left else { throw self.malformed("it ends too early") }
        defer { self.offset += length }
        return UnsafeRawBufferPointer(rebasing: self.bytes[self.offset..<self.offset + length])
    }

    mutating func readBytes(limit: Int) throws(HandoverFormatError) -> [UInt8] {
        Array(try self.readSlice(limit: limit))
    }

    mutating func readText(limit: Int) throws(HandoverFormatError) -> String {
        guard let text = String(validating: try self.readSlice(limit: limit), as: UTF8.self) else {
            throw self.malformed("a text is not UTF-8")
        }
        return text
    }

    mutating func readOptional<Value>(
        _ body: (inout HandoverReader) throws(HandoverFormatError) -> Value
    ) throws(HandoverFormatError) -> Value? {
        try self.readFlag() ? try body(&self) : nil
    }

    mutating func readArray<Element>(
        limit: Int, _ body: (inout HandoverReader) throws(HandoverFormatError) -> Element
    ) throws(HandoverFormatError) -> [Element] {
        let count = try self.readCount(limit: limit)
        var elements: [Element] = []
        for _ in 0..<count { elements.append(try body(&self)) }
        return elements
    }
}
