internal import FuzzEntries
internal import Glibc

/// The fuzzer for one target: `bootgate-fuzz --target=tlv [options and corpus of libFuzzer]`.
@main
enum Program {
    static func main() {
        guard Self.target != nil else {
            print("usage: bootgate-fuzz --target=NAME [libFuzzer's options] [CORPUS]")
            print("targets: " + FuzzTarget.allCases.map(\.rawValue).joined(separator: " "))
            exit(64)
        }
        var count = CommandLine.argc
        var arguments = CommandLine.unsafeArgv
        exit(runDriver(&count, &arguments, Self.run))
    }

    /// The fuzzer passes over options with two dashes, and gives them to the processes that it starts itself.
    private static let target: FuzzTarget? = CommandLine.arguments.lazy
        .filter { $0.hasPrefix("--target=") }
        .compactMap { FuzzTarget(rawValue: String($0.dropFirst(9))) }
        .first

    private static let run: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt = { start, count in
        do throws(Finding) {
            try Program.target?.run(UnsafeRawBufferPointer(start: start, count: count))
        } catch {
            var text = "finding: \(error.description)\n"
            _ = text.withUTF8 { write(STDERR_FILENO, $0.baseAddress, $0.count) }
            abort()
        }
        return 0
    }
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ run: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
