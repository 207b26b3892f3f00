internal import CoAP
internal import LwM2M

/// What the server hears of the device's answers.
extension BootstrapSession {
    /// Its code, its format and its body; in answers to Discover and Read, accounts are as the server wrote them (T32 to
    /// T34). What cannot be read is kept back: 5.02 (T35).
    mutating func answer(
        _ response: CoAPResponse, to question: Attempt.Question?, wallClock: Int64, into actions: inout [Action]
    ) -> CoAPResponse {
        var passed = CoAPResponse(response.code)
        if let format = response.options.uint(.contentFormat) { passed.options.append(.contentFormat, uint: format) }
        passed.payload = response.payload
        guard let question, response.code == .content else { return passed }
        do throws(AccountRewriter.UnusableAnswer) {
            passed.payload = try self.original(response, of: question, wallClock: wallClock, into: &actions)
            return passed
        } catch {
            self.noteUnusable(error, wallClock: wallClock, into: &actions)
            return CoAPResponse(.badGateway)
        }
    }

    private mutating func original(
        _ response: CoAPResponse, of question: Attempt.Question, wallClock: Int64, into actions: inout [Action]
    ) throws(AccountRewriter.UnusableAnswer) -> [UInt8] {
        switch question {
        case .discover(let path):
            // Other objects have no accounts to hide.
            guard path.objectID.map({ $0 <= 1 }) ?? true else { return response.payload }
            let list = try AccountRewriter.links(response.payload)
            if path.objectID != 1 { self.learn(BootstrapFinding(in: list), wallClock: wallClock, into: &actions) }
            return try self.attempt?.rewriter.answer(toDiscover: response.payload) ?? response.payload
        case .read(let path):
            return try self.attempt?.rewriter.answer(
                toRead: response.payload, contentFormat: response.contentFormat, of: path
            ) ?? response.payload
        }
    }

    /// The device has said something that nobody can use.
    mutating func noteUnusable(
        _ answer: AccountRewriter.UnusableAnswer, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let attempt = self.attempt else { return }
        var event = self.event(.bootstrapRefused, wallClock, of: attempt, cause: .malformed)
        event.detail += [.init("reason", .text(answer.message))]
        actions.append(.journal(event))
        actions.append(.warn(.malformed))
        actions.append(.dropAnswer)
    }
}
