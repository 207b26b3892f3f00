internal import Glibc

/// What the operating system says about `code`.
func errorText(_ code: Int32) -> String { String(cString: strerror(code)) }

/// Lower-case hexadecimal digits of `bytes`.
func hexadecimalText(_ bytes: some Collection<UInt8>) -> String {
    var writer = JSONWriter()
    writer.hexadecimal(bytes)
    return String(decoding: writer.bytes, as: UTF8.self)
}

/// The bytes of an even number of hexadecimal digits, or nil.
func hexadecimalBytes(_ text: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count / 2)
    var high: UInt8?
    for digit in text.utf8 {
        let nibble: UInt8
        switch digit {
        case 0x30...0x39: nibble = digit - 0x30
        case 0x41...0x46: nibble = digit - 0x37
        case 0x61...0x66: nibble = digit - 0x57
        default: return nil
        }
        if let upper = high {
            bytes.append(upper << 4 | nibble)
            high = nil
        } else {
            high = nibble
        }
    }
    return high == nil ? bytes : nil
}

/// Makes a new name in the folder of `path` survive a power cut. Best effort: some file systems refuse it.
func synchronizeDirectory(of path: String) {
    let folder = path.lastIndex(of: "/").map { path[..<$0].isEmpty ? "/" : String(path[..<$0]) } ?? "."
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
}

/// Makes a folder, and the ones above it, unless they are there.
func makeDirectory(_ path: String, mode: mode_t, purpose: String) throws(RecordsError) {
    var position = path.startIndex
    while position < path.endIndex {
        position = path[path.index(after: position)...].firstIndex(of: "/") ?? path.endIndex
        guard mkdir(String(path[..<position]), mode) == 0 || errno == EEXIST || position < path.endIndex else {
            throw RecordsError(
                .cannotWrite,
                "cannot make \(purpose) \(path): \(errorText(errno))",
                remedy: "make the folder and give it to the gateway's user"
            )
        }
    }
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
        throw RecordsError(.cannotWrite, "\(purpose) \(path) is not a folder", remedy: "name a folder")
    }
}

extension StringProtocol {
    /// Without the ASCII white space at both ends.
    func trimmingSpaces() -> String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\n" || $0 == "\r" || $0 == "\r\n" }
        guard let first = self.firstIndex(where: { !isSpace($0) }),
            let last = self.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(self[first...last])
    }
}
