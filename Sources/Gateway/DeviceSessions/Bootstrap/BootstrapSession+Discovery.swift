internal import CoAP
internal import LwM2M
internal import Timing

/// Where the device's own bootstrap account is: learned before a command of the server could hit it, and remembered with
/// the SIM's record (T20, T36).
///
/// A device whose place is known is never asked. Nor is it for writes that cannot hit the account: to other objects, and
/// deletes of everything, which spare it. A device that does not tell gets the numbers that the server writes, as it would
/// without a gateway; what it does not survive it refuses, and is asked again at its next bootstrap.
extension BootstrapSession {
    /// Whether the device has to be asked first.
    func mustDiscover(before operation: BootstrapOperation) -> Bool {
        // The attempt as a whole would be copied if it were bound to a name.
        guard self.attempt?.place == .unknown else { return false }
        switch operation {
        case .write(let path): return path.objectID == 0
        case .delete(let path):
            return path.objectID == 0 && path.count > 1 && self.attempt?.rewriter.isServerAccount(path) == false
        case .request, .finish, .discover, .read, .other, .refused: return false
        }
    }

    /// Asks the device; the server's command waits for the answer.
    mutating func discover(
        before request: CoAPRequest, _ id: MessageLayer.RequestID, wallClock: Int64, into actions: inout [Action]
    ) {
        self.attempt?.timeline.asksForAccount(at: wallClock)
        self.attempt?.step = .running(
            Attempt.Operation(request: id, isFinish: false, stage: .atDevice, waiting: request)
        )
        actions.append(.requestDevice(CoAPRequest(.get, path: ["0"], accept: ContentFormat.linkFormat.rawValue)))
    }

    /// The device has answered, and the server's command goes on.
    mutating func discovered(
        _ response: CoAPResponse, before request: CoAPRequest, _ id: MessageLayer.RequestID, now: Instant,
        wallClock: Int64, into actions: inout [Action]
    ) {
        // Asked once in a bootstrap, whatever comes of it.
        self.attempt?.place = .untold
        if response.code == .content {
            do throws(AccountRewriter.UnusableAnswer) {
                let list = try AccountRewriter.links(response.payload)
                self.learn(BootstrapFinding(in: list), wallClock: wallClock, into: &actions)
            } catch {
                self.noteUnusable(error, wallClock: wallClock, into: &actions)
            }
        } else if !response.code.isSuccess {
            // It will not do it next time either.
            self.remember(.untold, wallClock: wallClock, into: &actions)
        }
        self.goOn(with: request, id, now: now, wallClock: wallClock, into: &actions)
    }

    /// The device has refused the message itself; the server's command goes on.
    mutating func discoveryRefused(
        before request: CoAPRequest, _ id: MessageLayer.RequestID, now: Instant, wallClock: Int64,
        into actions: inout [Action]
    ) {
        self.attempt?.place = .untold
        self.remember(.untold, wallClock: wallClock, into: &actions)
        self.goOn(with: request, id, now: now, wallClock: wallClock, into: &actions)
    }

    private mutating func goOn(
        with request: CoAPRequest, _ id: MessageLayer.RequestID, now: Instant, wallClock: Int64,
        into actions: inout [Action]
    ) {
        self.attempt?.step = .running(nil)
        let before = actions.count
        self.carryOut(id, request, wallClock: wallClock, into: &actions)
        self.noteAnswer(to: id, in: actions[before...], wallClock)
        guard case .running(.none)? = self.attempt?.step else { return }
        self.continueWithHeld(now: now, wallClock: wallClock, into: &actions)
    }

    // MARK: - What is known

    /// A list of the device's own says where the account is, whoever asked for it. Later lists correct earlier ones.
    mutating func learn(_ finding: BootstrapFinding, wallClock: Int64, into actions: inout [Action]) {
        switch finding {
        case .instance(let instance):
            self.attempt?.place = .instance(instance)
            self.attempt?.rewriter.bootstrapInstanceID = instance
            self.attempt?.lostBootstrapAccount = false
            self.remember(.instance(instance), wallClock: wallClock, into: &actions)
        case .none:
            // There is nothing to spare, until the server writes one.
            self.attempt?.place = .untold
            self.attempt?.rewriter.bootstrapInstanceID = nil
            self.remember(.unknown, wallClock: wallClock, into: &actions)
        case .ambiguous: break
        }
    }

    /// The device has finished with the accounts of this bootstrap: what it has taken is what it has now. Where it has
    /// refused its own, nobody knows.
    mutating func learnFromFinish(wallClock: Int64, into actions: inout [Action]) {
        guard self.attempt?.lostBootstrapAccount == false else {
            self.remember(.unknown, wallClock: wallClock, into: &actions)
            return
        }
        guard let instance = self.attempt?.rewriter.bootstrapInstanceID else { return }
        self.remember(.instance(instance), wallClock: wallClock, into: &actions)
    }

    /// The device has refused its accounts. It may be another one than before, in which its own account is elsewhere. What
    /// ended the bootstrap after that does not matter.
    mutating func forgetPlace(
        of attempt: Attempt, after cause: FailureCause, wallClock: Int64, into actions: inout [Action]
    ) {
        let ends = (cause == .deviceRefused || cause == .finishRefused) && attempt.rewriter.hasWrittenAccounts
        guard attempt.isRefusedByDevice || ends else { return }
        self.remember(.unknown, wallClock: wallClock, into: &actions)
    }

    mutating func remember(
        _ place: SIMRecord.BootstrapPlace, wallClock: Int64, into actions: inout [Action]
    ) {
        let before = self.subject.record.bootstrapPlace
        guard before != place else { return }
        self.subject.record.bootstrapPlace = place
        actions.append(.remember(place))
        var event = self.event(.simChanged, wallClock)
        event.detail = [
            .init("action", .text("bootstrap-account")), .init("by", .text("device")),
            .init("before", .text(before.description)), .init("after", .text(place.description)),
        ]
        actions.append(.journal(event))
    }
}
