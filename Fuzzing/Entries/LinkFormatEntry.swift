internal import LwM2M

/// Lists of links, as devices answer to Discover.
enum LinkFormatEntry {
    static func run(_ input: UnsafeRawBufferPointer) throws(Finding) {
        let bytes = Array(input)
        let list: LinkFormat
        do { list = try LinkFormat(bytes) } catch {
            _ = error.description
            return
        }
        try Finding.check(list.links.count <= LinkFormat.maximumLinks, "\(list.links.count) links")
        try Finding.check(list.bytes == bytes, "a list that nobody has changed is another one")
        // What the gateway changes of a list.
        var changed = list
        for index in changed.links.indices {
            changed.links[index].replace("uri", with: "coap://edge.example.net:5683")
            changed.links[index].remove("ep")
            if let path = changed.links[index].path, path.objectID == 0, path.count == 2 {
                changed.links[index].move(to: LwM2MPath(100, UInt16(truncatingIfNeeded: index)))
            }
        }
        guard let again = try? LinkFormat(changed.bytes) else {
            // Two links that were apart may lead to one place now, and the list may have grown too long.
            return
        }
        try Finding.check(
            again.links.compactMap(\.path) == changed.links.compactMap(\.path),
            "the paths of a changed list are other ones"
        )
        for link in again.links { try Finding.check(link["ep"] == nil, "what was removed is there") }
    }
}
