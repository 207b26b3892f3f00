internal import Gateway
internal import Synchronization

/// The work on the list of published keys, from the moment that the configuration has a server that is told keys.
final class PublishingTask: Sendable {
    private let desk: PublicationDesk
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(_ desk: PublicationDesk) { self.desk = desk }

    func start() {
        self.task.withLock { task in
            guard task == nil else { return }
            task = Task.detached { [desk = self.desk] in await desk.run() }
        }
    }

    /// Returns when what is being told to a server is written down.
    func stop() async {
        let task = self.task.withLock { $0 }
        task?.cancel()
        await task?.value
    }
}
