package import CoAP

/// What a device is told for each cause (interface, section 4). Nothing but the code and, where a later attempt may
/// succeed, Max-Age: no diagnostic payload tells causes apart, the audit journal does.
package enum DeviceAnswer {
    /// Seconds after which a device may try again when the upstream is down or the gateway is full.
    package static let retryAfter: UInt32 = 60

    package static func response(to cause: FailureCause, upstreamCode: CoAPCode? = nil) -> CoAPResponse {
        switch cause {
        case .unauthorized, .endpointMismatch, .unknownIdentity, .wrongKey, .backOff, .suspended, .retired, .removed,
            .revoked, .malformed:
            CoAPResponse(.badRequest)
        case .notBootstrapped, .credentialEnded: CoAPResponse(.forbidden)
        case .upstreamRefused: CoAPResponse(upstreamCode ?? .badGateway)
        case .upstreamSilent: CoAPResponse(.gatewayTimeout)
        case .upstreamUnreachable, .upstreamHandshake, .limit, .storeUnavailable, .shutdown,
            .listenerRemoved:
            CoAPResponse(.serviceUnavailable, maxAge: Self.retryAfter)
        case .unsupported: CoAPResponse(.notImplemented)
        case .noRouteForServer, .publicationRefused, .publicationUnreachable, .publicationSilent, .deviceUnreachable,
            .lifetimeOver, .deviceRefused, .finishRefused, .superseded, .upstreamMalformed, .internal:
            CoAPResponse(.internalServerError)
        }
    }
}
