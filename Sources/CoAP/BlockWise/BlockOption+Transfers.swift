extension BlockOption {
    /// Bytes of the largest block.
    static let largestBlock = 1024

    /// The exponent of the largest block that is not above `size` bytes; 0 for less than 16 bytes, 6 for more than 1024.
    static func sizeExponent(of size: Int) -> UInt8 {
        var exponent: UInt8 = 0
        while exponent < 6, 32 << Int(exponent) <= size { exponent += 1 }
        return exponent
    }

    /// The block that begins at `offset`, which has to be a multiple of its size and below 2^24 bytes.
    static func uint(at offset: Int, more: Bool, szx: UInt8) -> UInt32 {
        UInt32(truncatingIfNeeded: offset >> (Int(szx) + 4)) << 4 | (more ? 8 : 0) | UInt32(szx)
    }

    /// Whether a payload of so many bytes can be this block: exactly its size if more follow, at most its size otherwise.
    func fits(_ length: Int) -> Bool { self.more ? length == self.size : length <= self.size }
}

/// A Block1 or Block2 option with a value that has no meaning.
struct MalformedBlock: Error {}

extension CoAPOptions {
    /// The value of Block1 or Block2, nil without the option.
    func block(_ number: CoAPOptionNumber) throws(MalformedBlock) -> BlockOption? {
        guard let value = self.first(number) else { return nil }
        guard let block = BlockOption(value) else { throw MalformedBlock() }
        return block
    }

    /// Whether two requests agree in all options for which `counts` is true.
    func agrees(with other: CoAPOptions, where counts: (CoAPOptionNumber) -> Bool) -> Bool {
        var ours = self.makeIterator()
        var theirs = other.makeIterator()
        while true {
            var a = ours.next()
            while let option = a, !counts(option.number) { a = ours.next() }
            var b = theirs.next()
            while let option = b, !counts(option.number) { b = theirs.next() }
            guard let a, let b else { return a == nil && b == nil }
            guard a.number == b.number, a.value == b.value else { return false }
        }
    }
}

extension CoAPOptionNumber {
    /// Belongs to the transfer of a body, not to the body: gone from a message that was put together.
    var isOfTransfer: Bool {
        switch self {
        case .block1, .block2, .size1, .size2, .requestTag: true
        default: false
        }
    }

    /// Says which resource a block belongs to, and to which of several transfers with it (RFC 9175, section 3.2).
    var namesTransfer: Bool {
        switch self {
        case .uriHost, .uriPort, .uriPath, .uriQuery, .requestTag: true
        default: false
        }
    }

    /// Has to be the same in all blocks of one body.
    var staysInTransfer: Bool {
        switch self {
        case .block1, .block2, .observe: false
        default: !self.isNoCacheKey
        }
    }
}
