import Foundation
import Glibc
import Secrets
import Synchronization
import Testing

@testable import Records

/// What one start of the gateway hands to the next, and who else must not get it.
@Suite("Saved sessions")
struct SessionVaultTests {
    /// A gateway that can stop and start again.
    private final class Site {
        let scratch = Scratch()
        var time: Int64 = 1_800_000_000_000_000
        var node = "edge-1"
        var library = "5.9.2"

        var run: String { self.scratch.path + "/run" }
        var file: String { self.run + "/" + SessionVault.fileName }

        init() throws { try FileManager.default.createDirectory(atPath: self.run, withIntermediateDirectories: true) }

        /// One life of the gateway.
        @discardableResult
        func life<T>(
            directory: String? = nil, key: String? = nil, _ body: (SessionVault) throws -> T
        ) throws -> T {
            let time = self.time
            let records = try self.scratch.records {
                $0.clock = { time }
                if let key { $0.key = .file(self.scratch.path + "/" + key) }
            }
            defer { records.close() }
            return try body(
                records.sessionVault(directory: directory ?? self.run, node: self.node, library: self.library)
            )
        }

        /// A start and a clean stop that saves `body`.
        func live(saving body: [UInt8]) throws {
            try self.life { vault in
                _ = try vault.take()
                var body = body
                try vault.save(&body)
            }
        }

        func kind(of body: (SessionVault) throws -> Void) throws -> SessionVaultError.Kind? {
            try self.life { vault in
                do {
                    try body(vault)
                    return nil
                } catch let error as SessionVaultError {
                    #expect(error.description.count > 20)
                    return error.kind
                }
            }
        }

        func taken() throws -> SessionVaultError.Kind? { try self.kind { _ = try $0.take() } }

        var bytes: [UInt8] {
            get { FileManager.default.contents(atPath: self.file).map { Array($0) } ?? [] }
            set {
                unlink(self.file)
                _ = FileManager.default.createFile(
                    atPath: self.file, contents: Data(newValue), attributes: [.posixPermissions: 0o600]
                )
            }
        }

        var isThere: Bool { access(self.file, F_OK) == 0 }
        var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: self.run)) ?? [] }
    }

    private static let body = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }

    // MARK: From stop to start

    @Test(
        "What a clean stop saves, the next start takes, whatever its length",
        arguments: [0, 1, 65_535, 65_536, 65_537, 400_000])
    func roundTrip(_ count: Int) throws {
        let site = try Site()
        let body = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        try site.live(saving: body)
        #expect(site.names == [SessionVault.fileName])
        #expect(try site.life { try $0.take() } == body)
        #expect(site.names.isEmpty)
    }

    @Test("The body is wiped and emptied when it was saved, and when it could not be")
    func wipes() throws {
        let site = try Site()
        try site.life { vault in
            _ = try vault.take()
            var body = Self.body
            try vault.save(&body)
            #expect(body.isEmpty)
        }
        try site.life(directory: site.run + "/missing") { vault in
            var body = Self.body
            #expect(throws: SessionVaultError.self) { try vault.save(&body) }
            #expect(body.isEmpty)
        }
    }

    @Test("The file is for its owner alone, and nothing of the body or the node's key is in it")
    func sealed() throws {
        let site = try Site()
        let body = Array("a key that must never be seen on a disk".utf8)
        try site.live(saving: body)
        var status = stat()
        #expect(stat(site.file, &status) == 0)
        #expect(status.st_mode & 0o7777 == 0o600)
        #expect(Data(site.bytes).range(of: Data(body[0..<8])) == nil)
        let other = try Site()
        try other.live(saving: body)
        #expect(site.bytes.suffix(body.count + 16) != other.bytes.suffix(body.count + 16))
    }

    @Test("Without a file there is nothing to take, and the generation moves all the same")
    func none() throws {
        let site = try Site()
        for _ in 0..<3 { #expect(try site.life { try $0.take() } == nil) }
        try site.live(saving: Self.body)
        let copy = site.bytes
        // A start that finds nothing, as after a copy was moved away.
        unlink(site.file)
        #expect(try site.life { try $0.take() } == nil)
        site.bytes = copy
        #expect(try site.taken() == .usedAlready)
    }

    @Test("A start without a runtime directory makes what was saved before it worthless")
    func withoutDirectory() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        let records = try site.scratch.records()
        try records.outdateSavedSessions()
        records.close()
        #expect(try site.taken() == .usedAlready)
    }

    @Test("A second save replaces the first, and what a stop has left half written is removed")
    func replaces() throws {
        let site = try Site()
        try site.life { vault in
            _ = try vault.take()
            for value in [1, 2] as [UInt8] {
                var body = [value]
                try vault.save(&body)
            }
        }
        _ = FileManager.default.createFile(atPath: site.file + ".new", contents: Data([1, 2, 3]))
        #expect(try site.life { try $0.take() } == [2])
        #expect(site.names.isEmpty)
    }

    // MARK: Used once

    @Test("A copied file is refused the second time, and ever after")
    func copied() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        let copy = site.bytes
        #expect(try site.life { try $0.take() } == Self.body)
        for _ in 0..<3 {
            site.bytes = copy
            #expect(try site.taken() == .usedAlready)
            #expect(!site.isThere)
        }
        site.bytes = copy
        try site.life { vault in #expect(throws: SessionVaultError.self) { try vault.take() } }
        try site.live(saving: [1])
        site.bytes = copy
        #expect(try site.taken() == .usedAlready)
    }

    @Test("A file is not taken a second time in the same life either")
    func sameLife() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        let copy = site.bytes
        try site.life { vault in
            let taken = try vault.take()
            #expect(taken == Self.body)
            site.bytes = copy
            #expect(throws: SessionVaultError.self) { try vault.take() }
        }
    }

    @Test("A stop that was not clean leaves nothing: the file of the stop before is refused")
    func unclean() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        let copy = site.bytes
        // A life that ends without saving.
        #expect(try site.life { try $0.take() } == Self.body)
        #expect(try site.life { try $0.take() } == nil)
        site.bytes = copy
        #expect(try site.taken() == .usedAlready)
    }

    /// Between the two steps nothing was handed out, so whatever is left may still be used, once.
    @Test("A process that ends between removal and generation hands out nothing, and a copy is good for one time")
    func crashes() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        let copy = site.bytes
        struct Crash: Error {}
        try site.life { vault in
            let crashing = SessionVault(
                directory: vault.directory, node: vault.node, library: vault.library, maximumAge: vault.maximumAge,
                key: vault.key,
                generations: SessionGenerations(current: vault.generations.current, advance: { throw Crash() }),
                state: vault.state, clock: vault.clock
            )
            #expect(throws: SessionVaultError.self) { try crashing.take() }
        }
        #expect(!site.isThere)
        site.bytes = copy
        #expect(try site.life { try $0.take() } == Self.body)
        site.bytes = copy
        #expect(try site.taken() == .usedAlready)
    }

    @Test("The file is gone before the generation moves")
    func order() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        let file = site.file
        let wasThere = Mutex<[Bool]>([])
        try site.life { vault in
            let watching = SessionVault(
                directory: vault.directory, node: vault.node, library: vault.library, maximumAge: vault.maximumAge,
                key: vault.key,
                generations: SessionGenerations(
                    current: vault.generations.current,
                    advance: {
                        wasThere.withLock { $0.append(access(file, F_OK) == 0) }
                        return try vault.generations.advance()
                    }
                ),
                state: vault.state, clock: vault.clock
            )
            let taken = try watching.take()
            #expect(taken == Self.body)
        }
        #expect(wasThere.withLock { $0 } == [false])
    }

    @Test("Stores that a backup brought back take no file of their other life")
    func restoredStores() throws {
        let site = try Site()
        try site.live(saving: [1])
        let state = site.scratch.state
        try FileManager.default.copyItem(atPath: state, toPath: site.scratch.path + "/backup")
        try site.live(saving: [2])
        let copy = site.bytes
        try FileManager.default.removeItem(atPath: state)
        try FileManager.default.moveItem(atPath: site.scratch.path + "/backup", toPath: state)
        #expect(try site.taken() == .otherStore)
        // The number is the same again now, the token is not.
        site.bytes = copy
        #expect(try site.taken() == .otherStore)
    }

    // MARK: Refused

    @Test("A file with any bit changed, or of any shorter length, is refused")
    func damaged() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        let good = site.bytes
        try site.life { vault in
            func kind(_ bytes: [UInt8]) -> SessionVaultError.Kind? {
                do {
                    let file = try SealedSessions(reading: bytes, key: vault.key)
                    _ = try file.open(bytes)
                    return nil
                } catch { return error.kind }
            }
            #expect(kind(good) == nil)
            for index in good.indices {
                var bytes = good
                bytes[index] ^= 1 << UInt8(index & 7)
                let found = kind(bytes)
                // The number of the format is looked at first.
                #expect(found == .damaged || (found == .otherFormat && index == 11), "byte \(index)")
            }
            for count in 0..<good.count { #expect(kind(Array(good[..<count])) == .damaged, "\(count) bytes") }
            #expect(kind(good + [0]) == .damaged)
            #expect(kind(good + good) == .damaged)
        }
        var bytes = good
        bytes[good.count - 1] ^= 1
        site.bytes = bytes
        #expect(try site.taken() == .damaged)
        #expect(!site.isThere)
    }

    @Test("Parts of a file cannot change places")
    func parts() throws {
        let site = try Site()
        try site.live(saving: [UInt8](repeating: 7, count: 3 * 65_536))
        var bytes = site.bytes
        let part = 65_536 + 16
        let start = bytes.count - 3 * part
        bytes =
            Array(bytes[..<start] + bytes[(start + part)..<(start + 2 * part)] + bytes[start..<(start + part)])
            + bytes[(start + 2 * part)...]
        site.bytes = bytes
        #expect(try site.taken() == .damaged)
    }

    @Test("A file of another node is refused")
    func otherNode() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        site.node = "edge-2"
        #expect(try site.taken() == .otherNode)
    }

    @Test("A file of another wolfSSL is refused")
    func otherLibrary() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        site.library = "5.10.0"
        #expect(try site.taken() == .otherLibrary)
    }

    @Test("A file that was sealed with another records key is refused")
    func otherKey() throws {
        let (one, other) = (try Site(), try Site())
        try one.live(saving: Self.body)
        try other.live(saving: Self.body)
        other.bytes = one.bytes
        #expect(try other.taken() == .damaged)
    }

    @Test("A file of other stores with the same key is refused")
    func otherStore() throws {
        let (one, other) = (try Site(), try Site())
        try one.live(saving: Self.body)
        try FileManager.default.copyItem(
            atPath: one.scratch.path + "/records.key", toPath: other.scratch.path + "/records.key"
        )
        other.bytes = one.bytes
        #expect(try other.taken() == .otherStore)
        try other.life { _ = try $0.take() }
    }

    @Test("A file that is too old is refused, and one of the future")
    func age() throws {
        let day: Int64 = 86_400_000_000
        for (later, expected) in [
            (0, nil), (day, nil), (-day, nil), (day + 1, .tooOld), (-day - 1, .tooOld),
        ] as [(Int64, SessionVaultError.Kind?)] {
            let site = try Site()
            try site.live(saving: Self.body)
            site.time += later
            #expect(try site.taken() == expected, "\(later)")
        }
    }

    @Test("A file that others can read is refused and removed", arguments: [0o640, 0o604, 0o660, 0o606, 0o601])
    func exposed(_ mode: Int) throws {
        let site = try Site()
        try site.live(saving: Self.body)
        #expect(chmod(site.file, mode_t(mode)) == 0)
        #expect(try site.taken() == .exposed)
        #expect(!site.isThere)
    }

    @Test("A link or a pipe in the place of the file is removed, and nothing is read through it")
    func notAFile() throws {
        let site = try Site()
        try site.live(saving: Self.body)
        #expect(rename(site.file, site.scratch.path + "/elsewhere") == 0)
        #expect(symlink(site.scratch.path + "/elsewhere", site.file) == 0)
        #expect(try site.taken() == .file)
        #expect(mkfifo(site.file, 0o600) == 0)
        #expect(try site.taken() == .file)
        #expect(site.names.isEmpty)
    }

    @Test("A folder in the place of the file stops nothing, and is told")
    func folder() throws {
        let site = try Site()
        try FileManager.default.createDirectory(atPath: site.file, withIntermediateDirectories: false)
        #expect(try site.taken() == .directory)
    }

    @Test("A file that is longer than any gateway's is refused without being read")
    func tooLarge() throws {
        let site = try Site()
        try site.life { _ = try $0.take() }
        site.bytes = [0]
        #expect(truncate(site.file, off_t(SealedSessions.maximumLength) + 1) == 0)
        #expect(try site.taken() == .tooLarge)
        #expect(!site.isThere)
        try site.life { vault in
            var body = [UInt8](repeating: 0, count: SessionVault.maximumBodyLength + 1)
            let error = #expect(throws: SessionVaultError.self) { try vault.save(&body) }
            #expect(error?.kind == .tooLarge)
        }
    }

    // MARK: The directory

    @Test("A runtime directory that is missing stops no start, and a stop says what to do")
    func missingDirectory() throws {
        let site = try Site()
        try site.life(directory: site.run + "/missing") { vault in
            let taken = try vault.take()
            #expect(taken == nil)
            var body = Self.body
            let error = #expect(throws: SessionVaultError.self) { try vault.save(&body) }
            #expect(error?.kind == .directory)
            #expect(error?.description.contains("No such file") == true)
            #expect(error?.description.contains("RuntimeDirectory=bootgate") == true)
        }
    }

    /// Also when the tests run as a user whom no mode stops.
    @Test("A file in the place of the runtime directory is told as such")
    func noDirectory() throws {
        let site = try Site()
        _ = FileManager.default.createFile(atPath: site.scratch.path + "/plain", contents: nil)
        try site.life(directory: site.scratch.path + "/plain") { vault in
            _ = try? vault.take()
            var body = Self.body
            let error = #expect(throws: SessionVaultError.self) { try vault.save(&body) }
            #expect(error?.kind == .directory)
        }
    }

    @Test("Live keys are not saved in the state folder")
    func stateFolder() throws {
        let site = try Site()
        for directory in [site.scratch.state, site.scratch.state + "/sub", site.run + "/../state"] {
            try? FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            try site.life(directory: directory) { vault in
                let taken = try vault.take()
                #expect(taken == nil)
                var body = Self.body
                let error = #expect(throws: SessionVaultError.self) { try vault.save(&body) }
                #expect(error?.kind == .directory)
                #expect(error?.what.contains("state folder") == true)
            }
        }
        #expect(try site.scratch.allBytes().range(of: Data(Self.body.prefix(64))) == nil)
    }

    @Test("A directory on a disk is told, one in memory is not")
    func memory() throws {
        let site = try Site()
        try site.life(directory: "/dev/shm") { #expect($0.warning == nil) }
        try site.life(directory: "/proc") { #expect($0.warning?.contains("/proc") == true) }
    }

    @Test("A save before the first start is refused")
    func neverStarted() throws {
        let site = try Site()
        try site.life { vault in
            var body = Self.body
            let error = #expect(throws: SessionVaultError.self) { try vault.save(&body) }
            #expect(error?.kind == .store)
        }
        #expect(site.names.isEmpty)
    }
}
