internal import Glibc

/// The files of a journal: `00000001.jsonl`, `00000002.jsonl` and so on in one folder.
enum AuditSegments {
    static func name(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".jsonl"
    }

    static func path(_ number: Int, in directory: String) -> String { "\(directory)/\(Self.name(number))" }

    /// Numbers of the segments in `directory` in ascending order. Other files are left alone.
    static func list(_ directory: String) throws(AuditError) -> [Int] {
        guard let stream = opendir(directory) else {
            let code = errno
            throw AuditError(
                code == ENOENT ? .notFound : .notPermitted,
                "cannot read the audit journal \(directory): \(AuditDescriptor.text(code))",
                remedy: code == ENOENT ? "the gateway makes it when it starts" : "run this as a user who may read it"
            )
        }
        defer { closedir(stream) }
        var numbers: [Int] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) {
                    String(cString: $0)
                }
            }
            guard name.hasSuffix(".jsonl"), let number = Int(name.dropLast(6)), number > 0, Self.name(number) == name
            else { continue }
            numbers.append(number)
        }
        return numbers.sorted()
    }
}
