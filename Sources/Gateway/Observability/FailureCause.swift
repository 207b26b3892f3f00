/// Why something did not happen: the one vocabulary of logs, the audit journal and metrics.
package enum FailureCause: String, Sendable, CaseIterable {
    case unauthorized
    case endpointMismatch = "endpoint mismatch"
    case unknownIdentity = "unknown identity"
    case wrongKey = "wrong key"
    /// An identity has shown so many wrong keys from one source that it has to wait there.
    case backOff = "too many wrong keys"
    case suspended
    case retired
    /// The SIM's record was removed.
    case removed
    /// The operator has revoked a credential.
    case revoked
    /// A Register over the plain port by a device whose bootstrap here gave it no leave, or none that still counts; none
    /// does while the SIM is registered over DTLS.
    case notBootstrapped = "registration without bootstrap"
    /// A one-time key that a newer one has replaced, or that time has ended.
    case credentialEnded = "credential replaced or expired"
    case noRouteForServer = "no route for server"
    case upstreamUnreachable = "upstream unreachable"
    case upstreamSilent = "upstream silent"
    case upstreamRefused = "upstream refused"
    /// The server answers, but no DTLS session comes about: it has another key, another identity or other suites.
    case upstreamHandshake = "upstream handshake failed"
    case deviceUnreachable = "device unreachable"
    case deviceRefused = "device refused"
    case finishRefused = "finish refused"
    case superseded = "superseded by a new request"
    case publicationRefused = "publication refused"
    case publicationUnreachable = "publication unreachable"
    case publicationSilent = "publication unanswered"
    case malformed
    case upstreamMalformed = "malformed upstream message"
    case unsupported
    case storeUnavailable = "store unavailable"
    case lifetimeOver = "lifetime over"
    /// After a restart: somebody else has the port by which the server knows the device.
    case portTaken = "upstream port taken"
    case limit
    /// A new configuration has taken away the address at which the device was.
    case listenerRemoved = "listener removed"
    case shutdown = "gateway stopping"
    case `internal`

    /// Whose doing it was, and so who has to act.
    package enum Source: String, Sendable {
        case device, upstream, gateway, `operator`
    }

    package var source: Source {
        switch self {
        case .unauthorized, .endpointMismatch, .unknownIdentity, .wrongKey, .backOff, .deviceUnreachable,
            .deviceRefused,
            .finishRefused, .superseded, .malformed, .lifetimeOver, .notBootstrapped, .credentialEnded:
            .device
        case .upstreamUnreachable, .upstreamSilent, .upstreamRefused, .upstreamMalformed, .publicationRefused,
            .publicationUnreachable, .publicationSilent, .unsupported:
            .upstream
        case .suspended, .retired, .removed, .revoked, .noRouteForServer, .upstreamHandshake, .listenerRemoved,
            .shutdown, .portTaken:
            .operator
        case .storeUnavailable, .limit, .internal: .gateway
        }
    }
}
