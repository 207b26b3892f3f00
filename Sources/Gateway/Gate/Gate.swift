package import CoAP

/// Decides whether a Bootstrap-Request may go upstream, and under which endpoint client name (T11 to T14).
///
/// Pure: the record was resolved before, by PSK identity or by source address. Called by the device's session, on the
/// event loop of its shard.
package enum Gate {
    package enum Decision: Sendable, Equatable {
        /// Goes upstream as `POST /bs` with exactly this query.
        case forward(endpoint: String, query: [String])
        case refuse(FailureCause)
        /// The device asks for a format that cannot be rewritten: 4.15 (spec 1.2).
        case refuseFormat
    }

    /// Judges `POST /bs` of a device whose record is `record` and which came by `arrival`.
    package static func judge(
        _ request: CoAPRequest, record: SIMRecord, arrival: GatewayConfiguration.Security
    ) -> Decision {
        switch record.status {
        case .active: break
        case .suspended: return .refuse(.suspended)
        case .retired: return .refuse(.retired)
        }
        if arrival == .plain && record.profile == .secure { return .refuse(.unauthorized) }
        // All bootstrap messages are Confirmable (spec 1.1).
        guard request.isConfirmable, let query = request.uriQuery else { return .refuse(.malformed) }
        switch Self.endpoint(in: query, record: record) {
        case .failure(let cause): return .refuse(cause.value)
        case .success(let endpoint):
            let formats = query.filter(PreferredFormat.isParameter)
            guard let format = formats.first else { return .forward(endpoint: endpoint, query: ["ep=\(endpoint)"]) }
            switch formats.count > 1 ? .malformed : PreferredFormat(format) {
            // `ep` first, then `pct` as it came, and nothing else: strict servers refuse any other parameter (T14).
            case .supported: return .forward(endpoint: endpoint, query: ["ep=\(endpoint)", format])
            case .unsupported: return .refuseFormat
            case .malformed: return .refuse(.malformed)
            }
        }
    }

    /// The name under which the device is known upstream: the record's own wherever the device leaves it out (T11) or
    /// may not choose it (`endpoint-policy: replace`).
    package static func endpoint(in query: [String], record: SIMRecord) -> Result<String, Cause> {
        let names = query.filter { $0.hasPrefix("ep=") }.map { $0.dropFirst(3) }
        guard names.count <= 1 else { return .failure(Cause(.malformed)) }
        guard let name = names.first, record.endpointPolicy == .match else { return .success(record.endpoint) }
        return name == record.endpoint ? .success(record.endpoint) : .failure(Cause(.endpointMismatch))
    }

    /// A cause as an error, for `Result`.
    package struct Cause: Error, Equatable {
        package let value: FailureCause
        init(_ value: FailureCause) { self.value = value }
    }
}
