package import CoAP

/// What becomes of a Bootstrap-Request in the mode of the gateway: the decision of ``Gate`` in `enforce`, and in
/// log-and-audit mode what is done instead.
package enum Verdict: Sendable, Equatable {
    /// Goes upstream as `POST /bs` with exactly this query.
    case forward(endpoint: String, query: [String])
    /// Goes upstream as the device has sent it. `would` is why `enforce` would have refused it; nil: it would not.
    case watch(endpoint: String, query: [String], would: FailureCause?)
    case refuse(FailureCause)
    /// 4.15
    case refuseFormat
}

extension Gate {
    /// The verdict on a request for a bootstrap or a pack. Malformed requests are refused in both modes.
    package static func verdict(
        on request: CoAPRequest, record: SIMRecord, arrival: GatewayConfiguration.Security,
        mode: GatewayConfiguration.Mode
    ) -> Verdict {
        let decision = Self.judge(request, record: record, arrival: arrival)
        guard mode.isAudit else {
            if record.isStranger { return .refuse(.unauthorized) }
            return switch decision {
            case .forward(let endpoint, let query): .forward(endpoint: endpoint, query: query)
            case .refuse(let cause): .refuse(cause)
            case .refuseFormat: .refuseFormat
            }
        }
        // Decided once more, because what is malformed may also be refused for another reason.
        guard request.isConfirmable, let query = request.uriQuery, let name = Self.name(in: query) else {
            return .refuse(.malformed)
        }
        let would: FailureCause?
        switch decision {
        case .refuse(.malformed): return .refuse(.malformed)
        // Nothing can be held against it but that nobody knows it.
        case _ where record.isStranger: would = .unauthorized
        case .forward: would = nil
        case .refuse(let cause): would = cause
        case .refuseFormat: would = .unsupported
        }
        return .watch(endpoint: name.isEmpty ? record.endpoint : name, query: query, would: would)
    }

    /// The same for a Register over the plain port, whose name is the device's own where it is let through.
    package static func registrationVerdict(
        on request: CoAPRequest, record: SIMRecord, grant: PlainGrant?, mode: GatewayConfiguration.Mode
    ) -> (admission: Admission, would: FailureCause?) {
        let admission = Self.judgeRegistration(request, record: record, grant: grant)
        guard mode.isAudit, case .refuse(let cause, _) = admission, cause != .malformed,
            let name = request.uriQuery.flatMap(Self.name)
        else { return (admission, nil) }
        return (
            .admit(endpoint: name.isEmpty ? record.endpoint : name), record.isStranger ? .unauthorized : cause
        )
    }

    /// What the device calls itself, empty if it does not; nil for several names.
    private static func name(in query: [String]) -> String? {
        let names = query.filter { $0.hasPrefix("ep=") }
        return names.count > 1 ? nil : names.first.map { String($0.dropFirst(3)) } ?? ""
    }
}
