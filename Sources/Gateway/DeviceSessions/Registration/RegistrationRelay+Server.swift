package import CoAP
package import Timing

/// The server's requests, and what the device says to them.
extension RegistrationRelay {
    package mutating func upstreamRequested(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, now: Instant, into actions: inout [Action]
    ) {
        let replaced = self.superseded.take()
        guard self.isAttached else {
            // The server's own repetition may find the device back.
            actions.append(.disownUpstream(id))
            return
        }
        var passed: CoAPRequest
        switch Passing.request(request) {
        case .success(let request): passed = request
        case .failure(let refusal):
            self.turnAway(id, replaced, refusal.response, into: &actions)
            return
        }
        let observations = self.device.count { $0.isObservation }
        guard self.device.count - observations + self.held.count < Limit.serverRequests else {
            actions.append(.count(.serverRequest))
            self.turnAway(id, replaced, CoAPResponse(.serviceUnavailable, maxAge: 5), into: &actions)
            return
        }
        var wantsObservation = request.observe == 0
        if wantsObservation && replaced == nil && observations >= Limit.observations {
            actions.append(.count(.observation))
            passed.observe = nil
            wantsObservation = false
        }
        var origin = ServerRequest(id: id, wantsObservation: wantsObservation, replacing: replaced)
        guard !self.awaitsAnswer || self.heldUntil.map({ $0 <= now }) ?? false else {
            // The device is awake: it waits for an answer.
            self.held.append(Held(request: passed, origin: origin))
            if self.heldUntil == nil {
                self.heldUntil = now + Self.patience
                actions.append(.lifeChanged)
            }
            return
        }
        if self.isQueueMode && request.isConfirmable {
            origin.followsRepetitions = true
            actions.append(.awaitRepetitions(id))
        }
        actions.append(.requestDevice(passed, origin))
    }

    private func turnAway(
        _ id: MessageLayer.RequestID, _ replaced: MessageLayer.ExchangeID?, _ response: CoAPResponse,
        into actions: inout [Action]
    ) {
        if let replaced { actions.append(.cancelDevice(replaced)) }
        actions.append(.answerUpstream(id, response))
    }

    /// Whether the device waits for an answer of the server. After a NON it may wait, but cannot count on one.
    var awaitsAnswer: Bool { self.upstream.contains { $0.request.isConfirmable && $0.request.id != nil } }

    mutating func continueWithHeld(into actions: inout [Action]) {
        guard !self.awaitsAnswer else { return }
        self.heldUntil = nil
        self.passHeld(into: &actions)
    }

    mutating func passHeld(into actions: inout [Action]) {
        guard !self.held.isEmpty else { return }
        for held in self.held { actions.append(.requestDevice(held.request, held.origin)) }
        self.held.removeAll(keepingCapacity: true)
    }

    package mutating func forwarded(_ request: ServerRequest, asDevice exchange: MessageLayer.ExchangeID) {
        self.device.append(AtDevice(exchange: exchange, request: request))
    }

    /// The server has sent an open request again.
    package func upstreamRepeated(_ request: MessageLayer.RequestID, into actions: inout [Action]) {
        guard let entry = self.device.first(where: { $0.request.id == request }) else { return }
        actions.append(.repeatToDevice(entry.exchange))
    }

    /// The device has the request and will answer later.
    package func deviceAcknowledged(_ exchange: MessageLayer.ExchangeID, into actions: inout [Action]) {
        guard let entry = self.device.first(where: { $0.exchange == exchange }), entry.request.followsRepetitions
        else { return }
        actions.append(.acknowledgeUpstream(entry.request.id))
    }

    package mutating func deviceAnswered(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, into actions: inout [Action]
    ) {
        guard let index = self.device.firstIndex(where: { $0.exchange == exchange }) else { return }
        let request = self.device[index].request
        if request.wantsObservation && response.code.isSuccess && response.options.contains(.observe) {
            self.device[index].isObservation = true
        } else {
            self.device.remove(at: index)
        }
        actions.append(.answerUpstream(request.id, response))
        self.continueErrand(into: &actions)
    }

    package mutating func deviceNotified(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, isConfirmable: Bool,
        into actions: inout [Action]
    ) {
        guard let index = self.device.firstIndex(where: { $0.exchange == exchange }) else {
            // Nobody's any more: the next one is rejected.
            actions.append(.cancelDevice(exchange))
            return
        }
        let request = self.device[index].request
        if !response.code.isSuccess || !response.options.contains(.observe) { self.device.remove(at: index) }
        actions.append(.notifyUpstream(request.id, response, isConfirmable: isConfirmable))
        self.continueErrand(into: &actions)
    }

    package mutating func deviceFailed(
        _ exchange: MessageLayer.ExchangeID, _ failure: MessageLayer.Failure, into actions: inout [Action]
    ) {
        guard let index = self.device.firstIndex(where: { $0.exchange == exchange }) else { return }
        let entry = self.device.remove(at: index)
        if entry.isObservation {
            let last = UpstreamAnswer.response(to: failure)
            actions.append(.notifyUpstream(entry.request.id, last, isConfirmable: true))
        } else if entry.request.followsRepetitions && failure == .noResponse {
            // It slept through all of them, and the server has given up by now.
            actions.append(.disownUpstream(entry.request.id))
        } else {
            actions.append(.answerUpstream(entry.request.id, UpstreamAnswer.response(to: failure)))
        }
    }

    /// The server does not want this observation any more: it refused a notification, or did not acknowledge it.
    package mutating func upstreamCancelled(_ request: MessageLayer.RequestID, into actions: inout [Action]) {
        guard let index = self.device.firstIndex(where: { $0.request.id == request }) else { return }
        actions.append(.cancelDevice(self.device.remove(at: index).exchange))
    }

    /// The server's next request has the token of this observation: it ends it (Observe 1) or renews it.
    package mutating func upstreamSuperseded(_ request: MessageLayer.RequestID) {
        guard let index = self.device.firstIndex(where: { $0.request.id == request }) else { return }
        self.superseded = self.device.remove(at: index).exchange
    }
}
