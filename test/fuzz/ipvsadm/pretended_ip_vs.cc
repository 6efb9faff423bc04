// SPDX-License-Identifier: Apache-2.0
// A library to be preloaded: a program that sends requests to the generic netlink family IPVS gets replies from a file,
// without a kernel that has ip_vs. So two programs can be given exactly the same table, with counters, protocols and
// flags that no traffic would produce, and the requests of both can be compared.
//
// SLUICE_PRETENDED names the file, with one entry per line: "service HEX", the attributes of a virtual server; "real
// HEX", of a real server of the preceding service; "daemon HEX"; "timeouts TCP FIN UDP"; "refuse N ERRNO", the N-th
// change (from 0) is refused. SLUICE_PRETENDED_LOG gets a line "COMMAND HEX" for each change,
// SLUICE_PRETENDED_CONNECTIONS replaces /proc/net/ip_vs_conn. Changes are acknowledged and dropped.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Bytes = std::string;

constexpr std::uint16_t kFamily = 29;
constexpr std::uint32_t kPort = 4242;
constexpr std::size_t kPieceSize = 16 * 1024;
const std::set<int> kChanges{IPVS_CMD_NEW_SERVICE, IPVS_CMD_SET_SERVICE, IPVS_CMD_DEL_SERVICE, IPVS_CMD_NEW_DEST,
                             IPVS_CMD_SET_DEST,    IPVS_CMD_DEL_DEST,    IPVS_CMD_NEW_DAEMON,  IPVS_CMD_DEL_DAEMON,
                             IPVS_CMD_SET_CONFIG,  IPVS_CMD_ZERO,        IPVS_CMD_FLUSH};

// The C library's function of that name.
template <typename Function>
Function* next(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
#define NEXT(name) static const auto next_##name = next(&::name, #name)

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Bytes number(std::uint32_t value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

Bytes padded(Bytes bytes) {
  bytes.resize((bytes.size() + 3) & ~std::size_t{3});
  return bytes;
}

Bytes attribute(std::uint16_t type, const Bytes& value) {
  const nlattr header{static_cast<std::uint16_t>(sizeof(nlattr) + value.size()), type};
  return padded(Bytes(reinterpret_cast<const char*>(&header), sizeof header) + value);
}

std::map<int, Bytes> attributes_of(std::string_view bytes) {
  std::map<int, Bytes> all;
  nlattr header{};
  while (bytes.size() >= sizeof header) {
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > bytes.size()) break;
    all[header.nla_type & NLA_TYPE_MASK] = bytes.substr(sizeof header, header.nla_len - sizeof header);
    bytes.remove_prefix(std::min<std::size_t>(bytes.size(), (header.nla_len + 3U) & ~3U));
  }
  return all;
}

struct Service {
  Bytes attributes;
  std::vector<Bytes> real_servers;
};

struct Answers {
  std::vector<Service> services;
  std::vector<Bytes> daemons;
  std::array<std::uint32_t, 3> timeouts{900, 120, 300};
  std::map<int, int> refusals;
  int changes = 0;

  Answers() {
    std::ifstream file(variable("SLUICE_PRETENDED"));
    for (std::string line, word, text; std::getline(file, line);) {
      std::istringstream words(line);
      words >> word;
      if (word == "timeouts") {
        words >> timeouts[0] >> timeouts[1] >> timeouts[2];
      } else if (int index = 0, error = 0; word == "refuse" && words >> index >> error) {
        refusals[index] = error;
      } else if (words >> text) {
        Bytes bytes;
        for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
          bytes += static_cast<char>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16));
        }
        if (word == "service") services.push_back({bytes, {}});
        if (word == "real") services.back().real_servers.push_back(bytes);
        if (word == "daemon") daemons.push_back(bytes);
      }
    }
  }
};

// The key of a virtual server: family and mark, or without a mark protocol, address and port.
std::vector<Bytes> identity(const Bytes& service) {
  std::map<int, Bytes> all = attributes_of(service);
  const Bytes family = all[IPVS_SVC_ATTR_AF];
  if (all.contains(IPVS_SVC_ATTR_FWMARK)) return {family, all[IPVS_SVC_ATTR_FWMARK]};
  const std::size_t length = family.starts_with(static_cast<char>(AF_INET)) ? 4 : 16;
  return {family, all[IPVS_SVC_ATTR_PROTOCOL], all[IPVS_SVC_ATTR_ADDR].substr(0, length), all[IPVS_SVC_ATTR_PORT]};
}

// One socket of the program, and the end of it that we write replies into.
class Conversation {
 public:
  explicit Conversation(int fd) : fd_(fd) {}

  void take(std::string_view datagram) {
    nlmsghdr header{};
    while (datagram.size() >= sizeof header) {
      std::memcpy(&header, datagram.data(), sizeof header);
      if (header.nlmsg_len < sizeof header + GENL_HDRLEN || header.nlmsg_len > datagram.size()) return;
      answer(header, datagram[sizeof header],
             Bytes(datagram.substr(sizeof header + GENL_HDRLEN, header.nlmsg_len - sizeof header - GENL_HDRLEN)));
      datagram.remove_prefix(std::min<std::size_t>(datagram.size(), (header.nlmsg_len + 3U) & ~3U));
    }
  }

 private:
  void message(const nlmsghdr& request, std::uint16_t type, std::uint16_t flags, const Bytes& payload) {
    const nlmsghdr header{static_cast<std::uint32_t>(sizeof header + payload.size()), type, flags, request.nlmsg_seq,
                          kPort};
    waiting_ += padded(Bytes(reinterpret_cast<const char*>(&header), sizeof header) + payload);
    if (waiting_.size() > kPieceSize) send();
  }
  void generic(const nlmsghdr& request, std::uint16_t flags, char command, const Bytes& attributes) {
    message(request, request.nlmsg_type, flags, Bytes{command, 1, 0, 0} + attributes);
  }
  void end(const nlmsghdr& request, int error) {
    message(
        request, NLMSG_ERROR, 0,
        number(static_cast<std::uint32_t>(-error)) + Bytes(reinterpret_cast<const char*>(&request), sizeof request));
  }
  void send() {
    if (!waiting_.empty() && ::write(fd_, waiting_.data(), waiting_.size()) < 0) std::perror("pretended ip_vs");
    waiting_.clear();
  }

  void answer(const nlmsghdr& request, char command, const Bytes& attributes) {
    static Answers answers;
    int error = 0;
    if (request.nlmsg_type == GENL_ID_CTRL) {
      const Bytes id(reinterpret_cast<const char*>(&kFamily), sizeof kFamily);
      generic(request, 0, CTRL_CMD_NEWFAMILY,
              attribute(CTRL_ATTR_FAMILY_NAME, Bytes("IPVS", 5)) + attribute(CTRL_ATTR_FAMILY_ID, id));
    } else if ((request.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP) {
      dump(request, command, attributes, answers);
      message(request, NLMSG_DONE, NLM_F_MULTI, number(0));
      return send();
    } else if (kChanges.contains(command)) {
      log(command, attributes);
      const auto refusal = answers.refusals.find(answers.changes++);
      if (refusal != answers.refusals.end()) error = refusal->second;
    } else {
      error = tell(request, command, attributes, answers);
    }
    send();  // libnl expects the acknowledgement in its own datagram
    if (error != 0 || (request.nlmsg_flags & NLM_F_ACK) != 0) end(request, error);
    send();
  }

  const Service* find(const Bytes& attributes, const Answers& answers) {
    const std::vector<Bytes> wanted = identity(attributes_of(attributes)[IPVS_CMD_ATTR_SERVICE]);
    for (const Service& each : answers.services) {
      if (identity(each.attributes) == wanted) return &each;
    }
    return nullptr;
  }

  void dump(const nlmsghdr& request, char command, const Bytes& attributes, const Answers& answers) {
    if (command == IPVS_CMD_GET_SERVICE) {
      for (const Service& each : answers.services)
        generic(request, NLM_F_MULTI, IPVS_CMD_NEW_SERVICE, attribute(IPVS_CMD_ATTR_SERVICE, each.attributes));
    } else if (command == IPVS_CMD_GET_DAEMON) {
      for (const Bytes& each : answers.daemons)
        generic(request, NLM_F_MULTI, IPVS_CMD_NEW_DAEMON, attribute(IPVS_CMD_ATTR_DAEMON, each));
    } else if (const Service* service = find(attributes, answers)) {
      for (const Bytes& each : service->real_servers)
        generic(request, NLM_F_MULTI, IPVS_CMD_NEW_DEST, attribute(IPVS_CMD_ATTR_DEST, each));
    }
  }

  int tell(const nlmsghdr& request, char command, const Bytes& attributes, const Answers& answers) {
    if (command == IPVS_CMD_GET_INFO) {
      generic(
          request, 0, IPVS_CMD_SET_INFO,
          attribute(IPVS_INFO_ATTR_VERSION, number(0x010201)) + attribute(IPVS_INFO_ATTR_CONN_TAB_SIZE, number(4096)));
    } else if (command == IPVS_CMD_GET_CONFIG) {
      Bytes all;
      for (std::uint16_t i = 0; i < 3; ++i)
        all += attribute(static_cast<std::uint16_t>(IPVS_CMD_ATTR_TIMEOUT_TCP + i), number(answers.timeouts[i]));
      generic(request, 0, IPVS_CMD_SET_CONFIG, all);
    } else {
      const Service* service = find(attributes, answers);
      if (service == nullptr) return ESRCH;
      generic(request, 0, IPVS_CMD_NEW_SERVICE, attribute(IPVS_CMD_ATTR_SERVICE, service->attributes));
    }
    return 0;
  }

  static void log(int command, const Bytes& attributes) {
    std::ofstream file(variable("SLUICE_PRETENDED_LOG"), std::ios::app);
    file << command << ' ' << std::hex;
    for (const char c : attributes) file << ((c >> 4) & 0xf) << (c & 0xf);
    file << '\n';
  }

  int fd_;
  Bytes waiting_;
};

// By the program's descriptor. Never destroyed: programs close sockets until they exit.
std::map<int, std::pair<Conversation, int>>& conversations() {
  static auto* const all = new std::map<int, std::pair<Conversation, int>>;
  return *all;
}

Conversation* conversation_of(int fd) {
  const auto found = conversations().find(fd);
  return found == conversations().end() ? nullptr : &found->second.first;
}

const char* in_place_of(const char* path) {
  const bool asked =
      std::strcmp(path, "/proc/net/ip_vs_conn") == 0 || std::strcmp(path, "/proc/thread-self/net/ip_vs_conn") == 0;
  return asked ? variable("SLUICE_PRETENDED_CONNECTIONS") : path;
}

}  // namespace

extern "C" {

int socket(int domain, int type, int protocol) noexcept {
  NEXT(socket);
  if (domain != AF_NETLINK || protocol != NETLINK_GENERIC) return next_socket(domain, type, protocol);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | (type & SOCK_CLOEXEC), 0, ends) != 0) return -1;
  const int size = 4 << 20;  // a whole table must fit before the program reads any of it
  ::setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  conversations().emplace(ends[0], std::pair(Conversation(ends[1]), ends[1]));
  return ends[0];
}

int close(int fd) {
  NEXT(close);
  const auto found = conversations().find(fd);
  if (found != conversations().end()) {
    next_close(found->second.second);
    conversations().erase(found);
  }
  return next_close(fd);
}

int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  NEXT(bind);
  return conversation_of(fd) != nullptr ? 0 : next_bind(fd, address, length);
}

int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
  NEXT(getsockname);
  if (conversation_of(fd) == nullptr) return next_getsockname(fd, address, length);
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  name.nl_pid = kPort;
  std::memcpy(address, &name, sizeof name);
  *length = sizeof name;
  return 0;
}

int setsockopt(int fd, int level, int option, const void* value, socklen_t length) noexcept {
  NEXT(setsockopt);
  const bool netlinks = level == SOL_NETLINK && conversation_of(fd) != nullptr;
  return netlinks ? 0 : next_setsockopt(fd, level, option, value, length);
}

ssize_t sendto(int fd, const void* bytes, size_t size, int flags, const sockaddr* to, socklen_t length) {
  NEXT(sendto);
  Conversation* const conversation = conversation_of(fd);
  if (conversation == nullptr) return next_sendto(fd, bytes, size, flags, to, length);
  conversation->take({static_cast<const char*>(bytes), size});
  return static_cast<ssize_t>(size);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  NEXT(sendmsg);
  Conversation* const conversation = conversation_of(fd);
  if (conversation == nullptr) return next_sendmsg(fd, message, flags);
  Bytes whole;
  for (std::size_t i = 0; i < message->msg_iovlen; ++i)
    whole.append(static_cast<const char*>(message->msg_iov[i].iov_base), message->msg_iov[i].iov_len);
  conversation->take(whole);
  return static_cast<ssize_t>(whole.size());
}

// The reader must see the kernel as the sender. What has not arrived by now never will.
ssize_t recvmsg(int fd, msghdr* message, int flags) {
  NEXT(recvmsg);
  if (conversation_of(fd) == nullptr) return next_recvmsg(fd, message, flags);
  msghdr plain = *message;
  plain.msg_name = nullptr;
  plain.msg_namelen = 0;
  const ssize_t received = next_recvmsg(fd, &plain, flags | MSG_DONTWAIT);
  message->msg_flags = plain.msg_flags;
  message->msg_controllen = 0;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (message->msg_name != nullptr && message->msg_namelen >= sizeof kernel) {
    std::memcpy(message->msg_name, &kernel, sizeof kernel);
    message->msg_namelen = sizeof kernel;
  }
  return received;
}

FILE* fopen(const char* path, const char* mode) {
  NEXT(fopen);
  return next_fopen(in_place_of(path), mode);
}

FILE* fopen64(const char* path, const char* mode) {
  NEXT(fopen64);
  return next_fopen64(in_place_of(path), mode);
}

}  // extern "C"
