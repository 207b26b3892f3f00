internal import Foundation
internal import Synchronization

/// A program that a test runs, with what it writes, line by line.
///
/// A thread of its own starts it, reads from it and waits for it; the kernel ends it when that thread goes, so nothing
/// outlives the tests. It is signalled by its own number, and only while that number is its own.
final class Program: Sendable {
    let name: String
    let output = Lines()
    let errors = Lines()
    private let number = Mutex<pid_t?>(nil)
    private let status = Promise<Int32>()
    private let input: Int32?

    /// Starts `executable`. Its standard input holds `input` and stays open; without, it is empty.
    init(_ name: String, _ executable: String, _ arguments: [String], input: [UInt8]? = nil) throws {
        self.name = name
        let output = try Pipe()
        let errors = try Pipe()
        let stdin = try input.map { bytes in
            let pipe = try Pipe()
            _ = bytes.withUnsafeBytes { write(pipe.writing, $0.baseAddress, $0.count) }
            return pipe
        }
        self.input = stdin?.writing
        // `setpriv` becomes the program, so the number is the program's own.
        let command = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", executable] + arguments
        let started = DispatchSemaphore(value: 0)
        // It may have ended again before anybody looks.
        let isThere = Atomic(false)
        Thread.detachNewThread {
            let number = Self.spawn(command, stdin?.reading, output.writing, errors.writing)
            self.number.withLock { $0 = number }
            isThere.store(number != nil, ordering: .relaxed)
            started.signal()
            for pipe in [output, errors] { close(pipe.writing) }
            if let stdin { close(stdin.reading) }
            self.read(output.reading, errors.reading)
            guard let number else { return self.status.fulfill(127) }
            // First without taking the status: the number stays the program's until the lock is held.
            var information = siginfo_t()
            while waitid(P_PID, id_t(number), &information, WEXITED | WNOWAIT) < 0, errno == EINTR {}
            var status: Int32 = 0
            self.number.withLock { number in
                if let number { waitpid(number, &status, 0) }
                number = nil
            }
            self.status.fulfill(status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F)
        }
        started.wait()
        guard isThere.load(ordering: .relaxed) else { throw Unexpected("\(executable) cannot be started") }
    }

    deinit { if let input { close(input) } }

    /// Its number as a process, while it runs.
    var processID: pid_t? { self.number.withLock { $0 } }

    func signal(_ signal: Int32) {
        self.number.withLock { number in
            if let number { kill(number, signal) }
        }
    }

    /// Its exit status, 128 and more for a signal.
    func exit(within limit: Duration) async throws -> Int32 {
        guard let status = await self.status.value(within: limit) else {
            throw Unexpected("\(self.name) still runs after \(limit)")
        }
        return status
    }

    /// Asks it to end, and makes it end if it does not.
    func stop() async {
        self.signal(SIGTERM)
        if await self.status.value(within: .seconds(10)) == nil {
            self.signal(SIGKILL)
            _ = await self.status.value(within: .seconds(10))
        }
    }

    /// What it wrote, for the report of a failure.
    var transcript: String {
        let lines = self.output.all.suffix(40) + self.errors.all.suffix(40).map { "! " + $0 }
        return "\(self.name):\n" + lines.map { "    \($0)\n" }.joined()
    }

    // MARK: - Processes

    private struct Pipe {
        let reading: Int32
        let writing: Int32

        /// A pair of sockets: unlike a pipe it cannot leak into a program that another thread starts meanwhile.
        init() throws {
            var ends: (Int32, Int32) = (-1, -1)
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            let result = withUnsafeMutableBytes(of: &ends) {
                socketpair(AF_UNIX, kind, 0, $0.bindMemory(to: Int32.self).baseAddress)
            }
            guard result == 0 else { throw Unexpected("no pipe: error \(errno)") }
            (self.reading, self.writing) = ends
        }
    }

    private static func spawn(_ command: [String], _ stdin: Int32?, _ stdout: Int32, _ stderr: Int32) -> pid_t? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let stdin {
            posix_spawn_file_actions_adddup2(&actions, stdin, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        posix_spawn_file_actions_adddup2(&actions, stdout, 1)
        posix_spawn_file_actions_adddup2(&actions, stderr, 2)
        // Threads of the test library may block signals; the program shall not begin with that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var number: pid_t = 0
        return posix_spawn(&number, command[0], &actions, &attributes, &arguments, environ) == 0 ? number : nil
    }

    /// Reads both until both have ended.
    private func read(_ output: Int32, _ errors: Int32) {
        var sources = [(output, self.output), (errors, self.errors)]
        var buffer = [UInt8](repeating: 0, count: 65536)
        while !sources.isEmpty {
            var polled = sources.map { pollfd(fd: $0.0, events: Int16(POLLIN), revents: 0) }
            guard poll(&polled, nfds_t(polled.count), -1) > 0 else { continue }
            for index in polled.indices.reversed() where polled[index].revents != 0 {
                let (descriptor, lines) = sources[index]
                let count = Foundation.read(descriptor, &buffer, buffer.count)
                if count > 0 {
                    lines.append(buffer.prefix(count))
                } else if count == 0 || errno != EINTR {
                    lines.end()
                    close(descriptor)
                    sources.remove(at: index)
                }
            }
        }
    }
}

/// Why a test cannot go on, in words for its reader.
struct Unexpected: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
