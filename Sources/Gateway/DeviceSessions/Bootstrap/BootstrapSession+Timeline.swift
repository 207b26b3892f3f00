internal import CoAP
internal import LwM2M

/// How the session keeps its ``Timeline``.
extension BootstrapSession {
    /// A message of the gateway went out again, to the device or to the server.
    package mutating func messageRetransmitted() { self.attempt?.timeline.retransmitted() }

    /// A message of the device came that had come before.
    package mutating func deviceRepeated() { self.attempt?.timeline.deviceRepeated() }

    /// Sends the device's request to a server that has given a lease.
    mutating func ask(_ upstream: GatewayConfiguration.Upstream, wallClock: Int64, into actions: inout [Action]) {
        self.attempt?.ask(upstream, into: &actions)
        self.noteAsking(wallClock)
    }

    /// A request of the device is on its way to the server of the lease.
    mutating func noteAsking(_ wallClock: Int64) {
        let upstreams = self.configuration.bootstrap.upstreams
        let place = upstreams.count == 1 ? 0 : upstreams.firstIndex { $0 == self.attempt?.upstream } ?? 0
        self.attempt?.timeline.asks(server: place, at: wallClock)
    }

    /// What was answered at once is over. What is at the device or waits goes on.
    mutating func noteAnswer(to id: MessageLayer.RequestID, in actions: ArraySlice<Action>, _ wallClock: Int64) {
        for case .answerUpstream(id, let response) in actions {
            self.attempt?.timeline.answered(response.code, bytes: 0, at: wallClock)
        }
    }

    /// Finish has waited for the store or for servers that are told keys.
    mutating func noteRelease(_ wallClock: Int64) {
        guard case .running(.some(let operation))? = self.attempt?.step, !operation.isAtDevice else { return }
        self.attempt?.timeline.released(at: wallClock)
    }

    /// Puts the timeline into the record of the end.
    mutating func tellTimeline(_ wallClock: Int64) {
        let servers = self.configuration.bootstrap.upstreams
        let names = servers.count > 1 ? servers.map(\.uri.description) : []
        if let fields = self.attempt?.timeline.fields(at: wallClock, servers: names) { self.attempt?.detail += fields }
    }

    /// The same for an attempt that has failed, with the answer that its device got just now if it had none before.
    func tellTimeline(of attempt: inout Attempt, _ wallClock: Int64, after actions: [Action]) {
        if !attempt.isAnswered {
            let id = attempt.request
            for case .answerDevice(id, let response) in actions {
                attempt.timeline.deviceHasAnswer(response.code, at: wallClock)
            }
        }
        let servers = self.configuration.bootstrap.upstreams
        let names = servers.count > 1 ? servers.map(\.uri.description) : []
        attempt.detail += attempt.timeline.fields(at: wallClock, servers: names)
    }
}
