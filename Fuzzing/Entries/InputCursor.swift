/// Takes an input apart into the steps of a play. Every input is a play, so that no change of the fuzzer's is for nothing.
struct InputCursor {
    private var rest: UnsafeRawBufferPointer

    init(_ input: UnsafeRawBufferPointer) { self.rest = input }

    var isAtEnd: Bool { self.rest.isEmpty }

    /// The next byte; 0 at the end.
    mutating func byte() -> UInt8 {
        guard let first = self.rest.first else { return 0 }
        self.rest = UnsafeRawBufferPointer(rebasing: self.rest.dropFirst())
        return first
    }

    mutating func number() -> Int {
        let high = self.byte()
        return Int(high) << 8 | Int(self.byte())
    }

    /// Bytes behind their length of one byte, or behind 255 and a length of two. What is missing at the end is left out.
    mutating func bytes() -> UnsafeRawBufferPointer {
        let short = Int(self.byte())
        let length = short == 255 ? self.number() : short
        let taken = UnsafeRawBufferPointer(rebasing: self.rest.prefix(length))
        self.rest = UnsafeRawBufferPointer(rebasing: self.rest.dropFirst(length))
        return taken
    }

    mutating func takeRest() -> [UInt8] {
        defer { self.rest = UnsafeRawBufferPointer(rebasing: self.rest.suffix(0)) }
        return Array(self.rest)
    }
}
