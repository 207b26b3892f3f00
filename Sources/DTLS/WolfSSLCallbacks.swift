internal import CWolfSSL

// The functions that the library calls. Each recovers its session from the pointer that `DTLSSession` gave to the
// library: unretained, because the session owns the library's object, frees it before it goes away itself, and is alive
// in every call during which the library can call back. They never call the library.

private func session(_ pointer: UnsafeMutableRawPointer?) -> DTLSSession? {
    guard let pointer else { return nil }
    return Unmanaged<DTLSSession>.fromOpaque(pointer).takeUnretainedValue()
}

/// Gives the library the one record that is being fed, once; then, or when it is too long for the library: "none
/// there".
func receiveCallback(
    _: OpaquePointer?,
    buffer: UnsafeMutablePointer<CChar>?,
    size: Int32,
    context: UnsafeMutableRawPointer?
) -> Int32 {
    let nothing = bootgate_io_want_read
    guard let session = session(context), let buffer, size > 0 else { return nothing }
    let target = UnsafeMutableRawBufferPointer(start: buffer, count: Int(size))
    guard let count = session.takeInput(into: target) else { return nothing }
    return Int32(count)
}

/// Takes a finished datagram.
func sendCallback(
    _: OpaquePointer?,
    buffer: UnsafeMutablePointer<CChar>?,
    size: Int32,
    context: UnsafeMutableRawPointer?
) -> Int32 {
    guard let session = session(context), let buffer, size >= 0 else {
        return bootgate_io_general
    }
    session.takeOutput(UnsafeRawBufferPointer(start: buffer, count: Int(size)))
    return size
}

/// A server's key. The identity that the library passes is not looked at: it was read from the message itself, and the
/// key found, before the message was fed.
func serverKeyCallback(
    library: OpaquePointer?,
    identity _: UnsafePointer<CChar>?,
    key: UnsafeMutablePointer<UInt8>?,
    capacity: UInt32
) -> UInt32 {
    guard let session = session(wolfSSL_GetIOReadCtx(library)), let key else { return 0 }
    return session.copyKey(to: UnsafeMutableRawBufferPointer(start: key, count: Int(capacity)))
}

/// A client's identity and key.
func clientKeyCallback(
    library: OpaquePointer?,
    hint _: UnsafePointer<CChar>?,
    identity: UnsafeMutablePointer<CChar>?,
    identityCapacity: UInt32,
    key: UnsafeMutablePointer<UInt8>?,
    capacity: UInt32
) -> UInt32 {
    guard let session = session(wolfSSL_GetIOReadCtx(library)), let identity, let key else { return 0 }
    let target = UnsafeMutableRawBufferPointer(start: identity, count: Int(identityCapacity))
    guard session.copyIdentity(to: target) else { return 0 }
    return session.copyKey(to: UnsafeMutableRawBufferPointer(start: key, count: Int(capacity)))
}
