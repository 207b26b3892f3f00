internal import Crypto
internal import Foundation
internal import Glibc

/// Reads an import file piece by piece, counts its bytes and takes its SHA-256 on the way; memory does not grow with the
/// file.
struct ImportFile: ~Copyable {
    static let pieceSize = 256 * 1024

    /// Bytes in the file; 0 when it is a pipe.
    let size: Int64
    private(set) var position: Int64 = 0
    private let descriptor: Int32
    private let path: String
    private var hash = SHA256()

    init(path: String) throws(RecordsError) {
        self.path = path
        self.descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard self.descriptor >= 0 else {
            throw RecordsError(
                errno == ENOENT ? .badData : .notPermitted,
                "cannot read \(path): \(errorText(errno))",
                remedy: "name a readable file"
            )
        }
        var status = stat()
        self.size =
            fstat(self.descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG ? Int64(status.st_size) : 0
    }

    deinit { Glibc.close(self.descriptor) }

    /// The next bytes; empty at the end.
    mutating func next() throws(RecordsError) -> [UInt8] {
        let descriptor = self.descriptor
        var got = -1
        let piece = [UInt8](unsafeUninitializedCapacity: Self.pieceSize) { bytes, count in
            repeat { got = read(descriptor, bytes.baseAddress, Self.pieceSize) } while got < 0 && errno == EINTR
            count = max(got, 0)
        }
        guard got >= 0 else {
            throw RecordsError(.unavailable, "cannot read \(self.path): \(errorText(errno))", remedy: "check the file")
        }
        self.hash.update(data: piece)
        self.position += Int64(got)
        return piece
    }

    /// Lower-case hexadecimal SHA-256 of everything that was read.
    func digest() -> String { hexadecimalText(Array(self.hash.finalize())) }
}

/// One row of an import file.
struct ImportRow: Sendable {
    /// Line on which the row starts, from 1.
    var line: Int
    var fields: Result<SIMFields, RecordsError>
}

/// Finds rows in the bytes of an import file.
protocol ImportFormat {
    /// Takes the next bytes (none: the end) and returns the rows that are complete by now. Throws where nothing behind
    /// the trouble can be read either.
    mutating func rows(from piece: [UInt8]) throws(RecordsError) -> [ImportRow]
}
