internal import Glibc

/// Key bytes: a pre-shared key, or any other bytes that must never be shown.
///
/// The bytes live in memory of their own, which is overwritten when the last copy of the value goes away (T45).
/// Comparison takes the same time wherever the bytes differ. Nothing prints them: `description`, `debugDescription`,
/// `dump` and reflection all give the length alone. The one way to the bytes is ``withUnsafeBytes(_:)``.
///
/// A value may be used from any thread: it never changes after it was made.
package struct Secret: Sendable {
    private let storage: Storage

    /// Copies `bytes`. The caller's copy is the caller's to wipe.
    package init(copying bytes: UnsafeRawBufferPointer) {
        self.storage = Storage(count: bytes.count) { $0.copyMemory(from: bytes) }
    }

    /// Copies `bytes`. The caller's copy is the caller's to wipe.
    package init(_ bytes: some Collection<UInt8>) {
        self.storage = Storage(count: bytes.count) { target in
            // An array has them in one piece.
            let isCopied: Void? = bytes.withContiguousStorageIfAvailable {
                target.copyMemory(from: UnsafeRawBufferPointer($0))
            }
            if isCopied == nil { for (place, byte) in zip(target.indices, bytes) { target[place] = byte } }
        }
    }

    /// The bytes that hexadecimal digits of either case stand for; nil when `text` is anything else.
    package init?(hexadecimal text: some StringProtocol) {
        let digits = text.utf8
        guard digits.count.isMultiple(of: 2) else { return nil }
        var isValid = true
        self.storage = Storage(count: digits.count / 2) { target in
            var position = 0
            var high: UInt8?
            for digit in digits {
                guard let nibble = Self.nibble(digit) else {
                    isValid = false
                    return
                }
                if let upper = high {
                    target[position] = upper << 4 | nibble
                    position += 1
                    high = nil
                } else {
                    high = nibble
                }
            }
        }
        if !isValid { return nil }
    }

    /// `count` bytes from the operating system's generator: one system call for each 256 of them.
    package static func random(count: Int) -> Secret {
        Secret(
            storage: Storage(count: count) { target in
                var rest = target[...]
                while let base = UnsafeMutableRawBufferPointer(rebasing: rest).baseAddress, !rest.isEmpty {
                    let part = min(rest.count, 256)
                    // It fails on kernels without the call only, which no supported system has.
                    guard getentropy(base, part) == 0 else {
                        preconditionFailure("the operating system has no random numbers: error \(errno)")
                    }
                    rest = rest.dropFirst(part)
                }
            }
        )
    }

    private init(storage: Storage) { self.storage = storage }

    /// Number of bytes.
    package var count: Int { self.storage.bytes.count }

    /// Lends the bytes for the duration of `body`; they must not be kept.
    package func withUnsafeBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try body(UnsafeRawBufferPointer(self.storage.bytes))
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    // Unchecked, because a pointer is not Sendable by itself: the bytes are written once, inside `init` and before any
    // other reference to the object exists, and afterwards only read until `deinit`, which has the last reference.
    private final class Storage: @unchecked Sendable {
        let bytes: UnsafeMutableRawBufferPointer

        init(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) {
            self.bytes = .allocate(byteCount: count, alignment: 1)
            self.bytes.initializeMemory(as: UInt8.self, repeating: 0)
            fill(self.bytes)
        }

        deinit {
            // Not `memset`: the compiler may drop a write to memory that is freed next.
            if let base = self.bytes.baseAddress { explicit_bzero(base, self.bytes.count) }
            self.bytes.deallocate()
        }
    }
}

extension Secret: Equatable {
    /// Compares in a time that depends on the length alone.
    package static func == (left: Secret, right: Secret) -> Bool {
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for index in 0..<left.count { difference |= left.storage.bytes[index] ^ right.storage.bytes[index] }
        return difference == 0
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "Secret(\(self.count) bytes)" }
    package var debugDescription: String { self.description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
