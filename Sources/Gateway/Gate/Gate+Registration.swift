package import CoAP

extension Gate {
    /// What becomes of a Register.
    package enum Admission: Sendable, Equatable {
        /// Goes upstream under this endpoint client name.
        case admit(endpoint: String)
        case refuse(FailureCause, CoAPCode)
    }

    /// Judges a Register that came over the plain port: only a device that has bootstrapped there may register, with the
    /// server that it was bootstrapped for. Pure: the record was found by source address, the grant by record and server.
    ///
    /// Without a grant the answer is 4.03, which sends the device back to its bootstrap (`interface.md`, section 4).
    package static func judgeRegistration(
        _ request: CoAPRequest, record: SIMRecord, grant: PlainGrant?
    ) -> Admission {
        switch record.status {
        case .active: break
        case .suspended: return .refuse(.suspended, .badRequest)
        case .retired: return .refuse(.retired, .badRequest)
        }
        if record.profile == .secure { return .refuse(.unauthorized, .badRequest) }
        guard let grant, grant.isAlive else { return .refuse(.notBootstrapped, .forbidden) }
        guard let query = request.uriQuery else { return .refuse(.malformed, .badRequest) }
        let names = query.filter { $0.hasPrefix("ep=") }.map { $0.dropFirst(3) }
        guard names.count <= 1 else { return .refuse(.malformed, .badRequest) }
        if let name = names.first, record.endpointPolicy == .match, name != grant.endpoint {
            return .refuse(.endpointMismatch, .badRequest)
        }
        return .admit(endpoint: grant.endpoint)
    }
}

extension PlainGrant {
    /// Whether a device may register under it.
    package var isAlive: Bool { self.state == .pending || self.state == .active }
}
