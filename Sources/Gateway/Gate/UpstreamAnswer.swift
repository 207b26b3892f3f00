internal import CoAP

/// What a server behind the gateway is told when the device does not give an answer that could be passed on (T43).
enum UpstreamAnswer {
    static func response(to failure: MessageLayer.Failure) -> CoAPResponse {
        switch failure {
        case .unacknowledged, .noResponse: CoAPResponse(.gatewayTimeout)
        case .reset, .unusableResponse: CoAPResponse(.badGateway)
        case .overloaded: CoAPResponse(.serviceUnavailable, maxAge: 1)
        }
    }
}
