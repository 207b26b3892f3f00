package import Gateway
package import Secrets
internal import Synchronization

/// The publisher of the configuration that counts now. One that another has replaced is closed when the last request that
/// went through it has ended.
package final class PublisherSwitch: CredentialPublisher {
    private final class Line: Sendable {
        let publisher: HTTPPublisher
        private let state = Mutex((users: 0, isRetired: false))

        init(_ publisher: HTTPPublisher) { self.publisher = publisher }

        /// False when it has been closed already.
        func enter() -> Bool {
            self.state.withLock { state in
                guard !state.isRetired || state.users > 0 else { return false }
                state.users += 1
                return true
            }
        }

        func leave() async {
            let isOver = self.state.withLock { state in
                state.users -= 1
                return state.isRetired && state.users == 0
            }
            if isOver { await self.publisher.close() }
        }

        func retire() async {
            let isOver = self.state.withLock { state in
                state.isRetired = true
                return state.users == 0
            }
            if isOver { await self.publisher.close() }
        }
    }

    private let line: Mutex<Line?>

    /// Nil: no server is told keys.
    package init(_ publisher: HTTPPublisher?) { self.line = Mutex(publisher.map { Line($0) }) }

    /// From now on requests go through this one.
    package func replace(with publisher: HTTPPublisher?) async {
        let line = publisher.map { Line($0) }
        let old = self.line.withLock { current in
            let old = current
            current = line
            return old
        }
        await old?.retire()
    }

    /// Ends what is under way.
    package func close() async {
        let line = self.line.withLock { $0 }
        await line?.publisher.close()
    }

    package func publish(_ credential: OneTimeCredential) async throws(PublicationFailure) {
        let line = try self.enter(credential.server)
        let result: Result<Void, PublicationFailure>
        do throws(PublicationFailure) {
            try await line.publisher.publish(credential)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await line.leave()
        try result.get()
    }

    package func withdraw(
        endpoint: String, identity: PSKIdentity?, from server: String
    ) async throws(PublicationFailure) {
        let line = try self.enter(server)
        let result: Result<Void, PublicationFailure>
        do throws(PublicationFailure) {
            try await line.publisher.withdraw(endpoint: endpoint, identity: identity, from: server)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await line.leave()
        try result.get()
    }

    private func enter(_ server: String) throws(PublicationFailure) -> Line {
        while let line = self.line.withLock({ $0 }) {
            if line.enter() { return line }
        }
        throw PublicationFailure(.unconfigured, "'\(server)' has no publish in the configuration")
    }
}
