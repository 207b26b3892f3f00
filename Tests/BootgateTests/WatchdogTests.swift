import Gateway
import NIOEmbedded
import Synchronization
import Testing

@testable import bootgate

@Suite("The keep-alive of the service manager")
struct WatchdogTests {
    @Test("It is due as often as the service manager says, and only for the process that it means")
    func interval() {
        #expect(Watchdog.interval(microseconds: "30000000", process: nil, own: 7) == .seconds(30))
        #expect(Watchdog.interval(microseconds: "30000000", process: "7", own: 7) == .seconds(30))
        #expect(Watchdog.interval(microseconds: "30000000", process: "8", own: 7) == nil)
        for text in [nil, "", "0", "-1", "x"] {
            #expect(Watchdog.interval(microseconds: text, process: nil, own: 7) == nil)
        }
    }

    @Test("It is sent after the event loop has turned, and not before")
    func turns() async {
        let loop = NIOAsyncTestingEventLoop()
        let sent = Atomic(0)
        let (signals, signal) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            await Watchdog.run(every: .seconds(3600), loop: loop) { text in
                if text == "WATCHDOG=1" { sent.add(1, ordering: .relaxed) }
                signal.finish()
            }
        }
        #expect(sent.load(ordering: .relaxed) == 0)
        await loop.run()
        // The hop may come after this turn: turn until it has.
        while sent.load(ordering: .relaxed) == 0 {
            await loop.run()
            await Task.yield()
        }
        for await _ in signals {}
        #expect(sent.load(ordering: .relaxed) == 1)
        task.cancel()
        await task.value
    }
}

@Suite("The runtime directory")
struct RuntimeDirectoryTests {
    private func configuration(_ runtime: String?) -> BootgateConfiguration {
        var configuration = BootgateConfiguration(
            gateway: GatewayConfiguration(listeners: [], bootstrap: .init(upstreams: [], account: .init()), servers: [])
        )
        configuration.runtime = runtime
        return configuration
    }

    @Test("The file decides, then the service manager, then whether the usual place is there")
    func order() {
        let nothing = self.configuration(nil)
        #expect(
            self.configuration("/run/mine").runtimeDirectory(environment: "/run/theirs", isWritable: { _ in true })
                == .directory("/run/mine"))
        #expect(
            nothing.runtimeDirectory(environment: "/run/one:/run/two", isWritable: { _ in true })
                == .directory("/run/one"))
        #expect(
            nothing.runtimeDirectory(environment: nil, isWritable: { $0 == "/run/bootgate" })
                == .directory("/run/bootgate"))
        #expect(nothing.runtimeDirectory(environment: "relative", isWritable: { _ in false }) == .none)
    }
}
