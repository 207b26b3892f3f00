internal import Glibc

private typealias LibraryFunction =
    @convention(c) (Int32, UnsafeRawPointer?, UnsafeMutablePointer<CChar>?, UInt32) -> UnsafePointer<CChar>?

/// The C library's function: the next one of this name (`RTLD_NEXT`).
private let libraryFunction = dlsym(UnsafeMutableRawPointer(bitPattern: -1), "inet_ntop").map {
    unsafeBitCast($0, to: LibraryFunction.self)
}

/// `inet_ntop(3)` for all of this program, as its allocator is. SwiftNIO makes the text of the sender's address for each
/// datagram that it reads, and the C library prints an IPv4 address through a format: 3 % of the instructions of a
/// bootstrap. What is not IPv4 or does not fit goes to the C library.
///
/// Called on any thread, also by C libraries.
@_cdecl("inet_ntop")
func addressText(
    _ family: Int32, _ address: UnsafeRawPointer?, _ text: UnsafeMutablePointer<CChar>?, _ size: UInt32
) -> UnsafePointer<CChar>? {
    guard family == AF_INET, size >= UInt32(INET_ADDRSTRLEN), let address, let text else {
        return libraryFunction?(family, address, text, size)
    }
    var end = text
    func put(_ character: UInt8) {
        end.pointee = CChar(bitPattern: character)
        end += 1
    }
    for index in 0..<4 {
        let byte = address.load(fromByteOffset: index, as: UInt8.self)
        if index > 0 { put(UInt8(ascii: ".")) }
        if byte >= 100 { put(UInt8(ascii: "0") + byte / 100) }
        if byte >= 10 { put(UInt8(ascii: "0") + byte / 10 % 10) }
        put(UInt8(ascii: "0") + byte % 10)
    }
    end.pointee = 0
    return UnsafePointer(text)
}
