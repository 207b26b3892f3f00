/// How options that the gateway does not understand are treated (RFC 7252, sections 5.4.1, 5.4.3, 5.4.5 and 5.7).
///
/// An option counts as not understood if its number has no meaning here, if its length is outside the range of its number,
/// or if it repeats one that may appear only once.
package enum OptionPolicy: Sendable {
    /// The gateway is the end of the conversation (bootstrap): a critical option rejects the message, an elective one is
    /// taken out.
    case endpoint
    /// The gateway passes messages on (registration leg): an unsafe option rejects the message, a safe one stays in it.
    case proxy
    /// The path of a request will decide which of the two it is: only what neither takes rejects the message. Whoever
    /// decides uses ``screen(_:)``.
    case undecided

    /// What the options of a message lead to.
    enum Verdict: Equatable {
        case accepted
        /// Accepted after `withoutIgnored`.
        case acceptedWithoutIgnored
        case rejected(CoAPOptionNumber)
    }

    func verdict(on options: CoAPOptions, inRequest: Bool) -> Verdict {
        var verdict = Verdict.accepted
        self.forEachNotUnderstood(options, inRequest: inRequest) { number in
            if case .rejected = verdict { return }
            switch self {
            case .endpoint: verdict = number.isCritical ? .rejected(number) : .acceptedWithoutIgnored
            case .proxy: if number.isUnsafe { verdict = .rejected(number) }
            case .undecided: if number.isUnsafe && number.isCritical { verdict = .rejected(number) }
            }
        }
        return verdict
    }

    /// The request as this policy takes it; nil where it has to be refused with 4.02.
    package func screen(_ request: CoAPRequest) -> CoAPRequest? {
        switch self.verdict(on: request.options, inRequest: true) {
        case .accepted: return request
        case .acceptedWithoutIgnored:
            var screened = request
            screened.options = self.withoutIgnored(request.options, inRequest: true)
            return screened
        case .rejected: return nil
        }
    }

    /// The response as this policy takes it; nil where it is of no use to whoever asked (5.02).
    package func screen(_ response: CoAPResponse) -> CoAPResponse? {
        switch self.verdict(on: response.options, inRequest: false) {
        case .accepted: return response
        case .acceptedWithoutIgnored:
            var screened = response
            screened.options = self.withoutIgnored(response.options, inRequest: false)
            return screened
        case .rejected: return nil
        }
    }

    /// The options without those that are not understood. Of a repeated option the first one stays.
    func withoutIgnored(_ options: CoAPOptions, inRequest: Bool) -> CoAPOptions {
        var kept = CoAPOptions()
        var previous: CoAPOptionNumber?
        for (number, value) in options {
            if Self.isUnderstood(number, length: value.count, previous: previous, inRequest: inRequest) {
                kept.append(number, value)
            }
            previous = number
        }
        return kept
    }

    private func forEachNotUnderstood(
        _ options: CoAPOptions,
        inRequest: Bool,
        _ body: (CoAPOptionNumber) -> Void
    ) {
        var previous: CoAPOptionNumber?
        options.forEachRaw { raw, value in
            let number = CoAPOptionNumber(rawValue: raw)
            if !Self.isUnderstood(number, length: value.count, previous: previous, inRequest: inRequest) {
                body(number)
            }
            previous = number
        }
    }

    private static func isUnderstood(
        _ number: CoAPOptionNumber,
        length: Int,
        previous: CoAPOptionNumber?,
        inRequest: Bool
    ) -> Bool {
        guard let permitted = number.permittedLength, permitted.contains(length) else { return false }
        return previous != number || number.isRepeatable(inRequest: inRequest)
    }
}
