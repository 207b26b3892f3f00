import Foundation
import Glibc
import Testing

@Suite("The gateway as a service manager sees it")
struct ServeCommandTests {
    /// A gateway that runs; `first` is its first line on standard output.
    private func serve(
        in place: Workplace,
        environment: [String: String] = [:],
        complaints: Pipe? = nil
    ) throws -> (process: Process, first: String) {
        let pipe = Pipe()
        let process = try place.process(
            ["serve", "--config", place.path("bootgate.yaml")],
            environment: environment,
            output: pipe
        )
        if let complaints { process.standardError = complaints }
        try process.run()
        var line = Data()
        while let byte = try pipe.fileHandleForReading.read(upToCount: 1), !byte.isEmpty, byte != Data("\n".utf8) {
            line += byte
        }
        return (process, String(decoding: line, as: UTF8.self))
    }

    private func stop(_ process: Process, _ signal: Int32 = SIGTERM) -> Int32 {
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        return process.terminationStatus
    }

    @Test(
        "It is ready with its addresses in one line, and ends with 0 when it is told to", arguments: [SIGTERM, SIGINT])
    func readyAndStop(signal: Int32) throws {
        let place = try Workplace()
        let (process, first) = try self.serve(in: place)
        #expect(first.wholeMatch(of: /ready coap:\/\/127\.0\.0\.1:[1-9]\d*/) != nil, "\(first)")
        #expect(self.stop(process, signal) == 0)
        // What went to standard error is the log alone: one JSON object a line.
        for line in try String(contentsOfFile: place.path("complaints"), encoding: .utf8).split(separator: "\n") {
            #expect((try? JSONSerialization.jsonObject(with: Data(line.utf8))) != nil, "\(line)")
        }
    }

    @Test("The journal has its start and its stop, verifies, and shows when it was changed")
    func journal() throws {
        let place = try Workplace()
        let (process, _) = try self.serve(in: place)
        let added = try place.run("sim", "add", "iccid=\(SIMCommandTests.iccid)", "key=\(SIMCommandTests.key)")
        #expect(added.status == 0)
        #expect(self.stop(process) == 0)

        // The change that a command made is in the journal after the next settling at the latest.
        let (again, _) = try self.serve(in: place)
        #expect(self.stop(again) == 0)
        let tail = try place.run("audit", "tail", "--json")
        #expect(tail.status == 0)
        for event in ["gateway.started", "gateway.stopped", "sim.changed"] {
            #expect(tail.output.contains("\"\(event)\""))
        }
        #expect(!SIMCommandTests.showsKey(tail.output))
        #expect(try place.run("audit", "show", SIMCommandTests.iccid).output.contains("sim.changed"))
        #expect(try place.run("audit", "verify").status == 0)

        let folder = place.path("state/audit")
        let segments = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".jsonl") }
            .sorted()
        let segment = folder + "/" + (try #require(segments.first))
        let text = try String(contentsOfFile: segment, encoding: .utf8)
        #expect(text.contains("gateway.started"))
        try text.replacing("gateway.started", with: "gateway.stopped", maxReplacements: 1)
            .write(toFile: segment, atomically: false, encoding: .utf8)
        let changed = try place.run("audit", "verify")
        #expect(changed.status == 65)
        #expect(!changed.complaints.isEmpty)
    }

    @Test("The service manager hears that it is ready, that it reads its file again, and that it stops")
    func notify() throws {
        let place = try Workplace()
        let path = place.path("notify")
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
        var patience = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        func message() -> String {
            var bytes = [UInt8](repeating: 0, count: 512)
            let count = recv(descriptor, &bytes, bytes.count, 0)
            return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        }
        let (process, first) = try self.serve(in: place, environment: ["NOTIFY_SOCKET": path])
        try #require(first.hasPrefix("ready "))
        #expect(message().hasPrefix("READY=1\n"))
        kill(process.processIdentifier, SIGHUP)
        #expect(message().wholeMatch(of: /RELOADING=1\nMONOTONIC_USEC=[1-9]\d*/) != nil)
        #expect(message().hasPrefix("READY=1\n"))
        #expect(self.stop(process) == 0)
        #expect(message() == "STOPPING=1")
    }

    @Test("It goes on when the reader of its log goes away")
    func logReaderGone() throws {
        let text = Workplace.configuration + "log: { level: trace }\n"
        let place = try Workplace(configuration: text)
        let log = Pipe()
        let (process, first) = try self.serve(in: place, complaints: log)
        try #require(first.hasPrefix("ready "))
        try log.fileHandleForReading.close()
        try log.fileHandleForWriting.close()
        // Stopping writes to the log, and must come to its end all the same.
        #expect(self.stop(process) == 0)
        #expect(process.terminationReason == .exit)
    }

    @Test("69 when another gateway uses the same state")
    func twice() throws {
        let place = try Workplace()
        let (process, _) = try self.serve(in: place)
        let other = try place.runBare(["serve", "--config", place.path("bootgate.yaml")])
        #expect(other.status == 69)
        #expect(other.output.isEmpty)
        #expect(self.stop(process) == 0)
    }

    @Test("69 when the address cannot be bound, with the reason")
    func noAddress() throws {
        let place = try Workplace(
            configuration: Workplace.configuration.replacing("127.0.0.1:0", with: "192.0.2.1:5683"))
        let result = try place.run("serve")
        #expect(result.status == 69)
        #expect(result.output.isEmpty)
        #expect(result.complaints.contains("192.0.2.1"))
    }
}
