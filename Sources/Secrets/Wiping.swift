internal import Glibc

extension [UInt8] {
    /// Overwrites the bytes, then empties the array. For buffers that held secrets: other copies of the array stay as
    /// they are, and so does what an array leaves behind when it grows, which reserving its capacity first avoids.
    package mutating func wipe() {
        self.withUnsafeMutableBytes { bytes in
            // Not `memset`: the compiler may drop a write to memory that is freed next.
            if let base = bytes.baseAddress { explicit_bzero(base, bytes.count) }
        }
        self.removeAll()
    }
}
