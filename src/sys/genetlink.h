// SPDX-License-Identifier: Apache-2.0
// Generic netlink: kernel subsystems that are addressed by the name of their family, with requests made of attributes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct mnl_socket;
struct nlmsghdr;

namespace sluice::sys {

// Attributes in a row, each padded to four bytes; integers in the machine's order.
class AttributeWriter {
 public:
  void put(std::uint16_t type, std::span<const std::uint8_t> value);
  void put_u8(std::uint16_t type, std::uint8_t value) { put(type, {&value, 1}); }
  void put_u16(std::uint16_t type, std::uint16_t value);
  void put_u32(std::uint16_t type, std::uint32_t value);
  void put_text(std::uint16_t type, std::string_view value);  // with its terminating NUL
  // What is put until end_nest() is inside one attribute. Nests do not overlap.
  [[nodiscard]] std::size_t begin_nest(std::uint16_t type);
  void end_nest(std::size_t begun);
  [[nodiscard]] std::vector<std::uint8_t> take() && { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

struct Attribute {
  std::uint16_t type = 0;  // without the flags of nests and byte order
  std::span<const std::uint8_t> value;
};
// Stops at the first that does not fit into the bytes.
void for_each_attribute(std::span<const std::uint8_t> bytes, const std::function<void(const Attribute&)>& visit);

struct GenericRequest {
  std::uint8_t command = 0;
  std::vector<std::uint8_t> attributes;
};

class GenericNetlink {
 public:
  using Answer = std::function<void(std::span<const std::uint8_t> attributes)>;

  // Talks to the family in the calling thread's network namespace. kNotFound if the kernel has none of that name.
  static Result<GenericNetlink> open(const std::string& family);
  GenericNetlink(GenericNetlink&&) = default;
  GenericNetlink& operator=(GenericNetlink&&) = default;
  // The family's number, as it was found. It changes, and requests are refused with ENOENT, once the family was
  // unregistered: its module was unloaded.
  [[nodiscard]] std::uint16_t family() const { return family_; }

  // Sends all requests, in order, many per system call. Returns one number per request: 0, or the errno of
  // the refusal. An Error means that some were not sent or got no reply; kUnavailable if the last reply did not
  // arrive in time.
  Result<std::vector<int>> transact(std::span<const GenericRequest> requests,
                                    std::chrono::milliseconds patience = std::chrono::seconds(30));
  // One request, one reply. Error::sys_errno is the kernel's.
  Result<> ask(const GenericRequest& request, const Answer& answer);
  // One request, any number of replies.
  Result<> dump(const GenericRequest& request, const Answer& answer);

 private:
  struct CloseSocket {
    void operator()(mnl_socket* socket) const;
  };
  using SocketPtr = std::unique_ptr<mnl_socket, CloseSocket>;
  explicit GenericNetlink(SocketPtr socket);

  void append_message(std::vector<std::uint8_t>& datagram, const GenericRequest& request, std::uint16_t flags);
  Result<> send(const std::vector<std::uint8_t>& datagram);
  Result<> converse(const GenericRequest& request, std::uint16_t flags, const Answer& answer);
  Result<> transact_some(std::span<const GenericRequest> requests, std::chrono::milliseconds patience,
                         std::vector<int>& outcomes);
  // Passes every message of one datagram to the visitor.
  Result<> receive(std::chrono::milliseconds patience, const std::function<void(const nlmsghdr&)>& visit);

  SocketPtr socket_;
  std::uint16_t family_;
  std::uint32_t sequence_ = 0;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace sluice::sys
