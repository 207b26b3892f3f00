package import Secrets
internal import Timing

/// Why a call was refused.
package enum DTLSError: Error, Equatable, Sendable {
    /// The linked library cannot do what was asked. The text says what is missing and what to do.
    case library(String)
    /// None of the configured suites exists in the linked library. The operator's to change.
    case noSuite([CipherSuite])
    /// A configured value is out of range. The operator's to change.
    case configuration(String)
    /// Memory is short, or the library reported an error of its own with this number.
    case failure(call: String, code: Int32)
    /// The hello does not carry a cookie that is still good. The caller examines it again, which answers it.
    case staleHello
    /// The client's hello cannot lead to a handshake: it offers no suite of ours, or is malformed inside.
    case helloRefused(code: Int32)
    /// ``DTLSConfiguration/maximumHandshakes`` are under way.
    case tooManyHandshakes
    /// A client's key has to have 1 to 64 bytes.
    case keyLength(Int)
    /// Data can be sent only between the handshake and the close.
    case notEstablished
    /// The data do not fit into one datagram; nothing was sent, the session lives on.
    case tooLong(maximum: Int)
    /// This session cannot be saved. The text says why; its device shakes hands again.
    case notExportable(String)
    /// A saved session cannot be used. The text says why; its device shakes hands again.
    case savedState(String)
}

extension DTLSError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .library(let text): text
        case .noSuite(let suites):
            "the linked wolfSSL has none of the suites \(suites.map(\.name).joined(separator: ", ")): "
                + "choose others, or run scripts/setup"
        case .configuration(let text): text
        case .failure(let call, let code): "\(call) failed with wolfSSL's error \(code): memory may be short"
        case .staleHello: "the device's hello carries no valid cookie: it gets a new one"
        case .helloRefused(let code):
            "the device's hello was refused (\(code)): it offers no suite of this gateway, or is malformed"
        case .tooManyHandshakes: "too many handshakes are under way: the device tries again by itself"
        case .keyLength(let count): "a pre-shared key has 1 to 64 bytes, this one has \(count)"
        case .notEstablished: "the session is not established"
        case .tooLong(let maximum): "at most \(maximum) bytes fit into one datagram"
        case .notExportable(let text): "the session cannot be saved: \(text)"
        case .savedState(let text): "the saved session cannot be used: \(text)"
        }
    }
}

/// Why a session ended.
package enum DTLSCloseReason: Error, Hashable, Sendable {
    /// The peer said so, authentically.
    case closedByPeer
    /// ``DTLSSession/close()`` was called.
    case closedLocally
    /// ``DTLSSession/exportState()`` was called: it goes on elsewhere, and its peer knows of nothing.
    case exported
    /// The handshake took too long. `alert` is what the peer said in clear meanwhile: a hint only, since anyone can
    /// forge it.
    case handshakeTimeout(alert: UInt8?)
    /// The handshake took more datagrams than ``DTLSConfiguration/maximumHandshakeDatagrams``.
    case tooManyDatagrams
    /// The key was not given in time: its store did not answer.
    case keyLookupTimeout
    /// No key belongs to the identity. On the wire this is the same as ``wrongKey``.
    case unknownIdentity
    /// The peer's Finished could not be opened: the two ends have different keys.
    case wrongKey
    /// The stored key cannot be used: it has to have 1 to 64 bytes. On the wire this is the same as ``wrongKey``.
    case unusableKey
    /// The peer ended the session with an authentic alert.
    case peerAlert
    /// The peer broke the protocol in a way that the library treats as final, with this error number.
    case protocolError(Int32)
}

extension DTLSCloseReason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .closedByPeer: "the peer closed the session"
        case .closedLocally: "the session was closed here"
        case .exported: "the session was saved"
        case .handshakeTimeout(nil): "the handshake was not finished in time"
        case .handshakeTimeout(.some(let alert)):
            "the handshake was not finished in time; the peer sent alert \(alert), unauthenticated"
        case .tooManyDatagrams: "the handshake took too many datagrams"
        case .keyLookupTimeout: "the key store did not answer in time"
        case .unknownIdentity: "no key belongs to the identity"
        case .wrongKey: "the peer has another key for the identity"
        case .unusableKey: "the stored key cannot be used: it has to have 1 to 64 bytes"
        case .peerAlert: "the peer ended the session with an alert"
        case .protocolError(let code): "the peer broke the protocol (wolfSSL error \(code))"
        }
    }
}

/// Why a datagram of an unknown peer was dropped without an answer.
package enum DTLSDropReason: String, Error, Hashable, Sendable, CaseIterable {
    /// Not one whole DTLS handshake record.
    case notHandshake = "not_handshake"
    /// A protected record: the peer believes in a session that does not exist here (any more).
    case unknownSession = "unknown_session"
    /// A handshake message other than ClientHello.
    case notHello = "not_hello"
    /// A ClientHello in pieces: putting it together would need memory for a peer that has proved nothing.
    case fragmentedHello = "fragmented_hello"
    /// Lengths inside the ClientHello that do not fit each other.
    case malformedHello = "malformed_hello"
    /// A version other than DTLS 1.2.
    case version
    /// The keyed hash could not be computed: the library is broken or memory is short.
    case `internal`
}

/// What a call on a session led to.
package enum DTLSOutcome: Equatable, Sendable {
    /// Nothing that the caller has to act on. Datagrams and plaintext may wait all the same.
    case nothing
    /// The key of this identity is wanted: look it up, then call ``DTLSSession/provide(key:now:)`` once.
    case keyNeeded(PSKIdentity)
    /// The handshake is complete and both ends have proved the key.
    case established
    /// The session is over; no memory of the library is held any more. Drain the output, then forget the session.
    case closed(DTLSCloseReason)
}
