/// Reads big-endian fields of a datagram from front to back. Every read checks the length; the bytes are borrowed.
struct ByteCursor {
    private var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { self.rest = bytes }

    var isAtEnd: Bool { self.rest.isEmpty }
    var count: Int { self.rest.count }

    mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, count <= self.rest.count else { return nil }
        let taken = UnsafeRawBufferPointer(rebasing: self.rest[self.rest.startIndex..<self.rest.startIndex + count])
        self.rest = UnsafeRawBufferPointer(rebasing: self.rest.dropFirst(count))
        return taken
    }

    mutating func takeRest() -> UnsafeRawBufferPointer {
        let taken = self.rest
        self.rest = UnsafeRawBufferPointer(rebasing: self.rest.suffix(0))
        return taken
    }

    /// A number of one to four bytes.
    mutating func takeNumber(bytes: Int) -> Int? {
        guard let field = self.take(bytes) else { return nil }
        var value = 0
        for byte in field { value = value << 8 | Int(byte) }
        return value
    }

    /// A vector whose length stands before it in a field of `lengthBytes` bytes.
    mutating func takeVector(lengthBytes: Int) -> UnsafeRawBufferPointer? {
        guard let count = self.takeNumber(bytes: lengthBytes) else { return nil }
        return self.take(count)
    }
}
