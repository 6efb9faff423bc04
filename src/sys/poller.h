// SPDX-License-Identifier: Apache-2.0
// epoll(7) for a loop that serves thousands of sockets without Asio.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace sluice::sys {

class Poller {
 public:
  struct Event {
    std::uint64_t token = 0;
    bool readable = false;  // data, the peer's end or an error
    bool writable = false;
  };
  enum class Interest : unsigned char { kRead, kReadAndWrite };

  static Result<Poller> open();
  // The token is returned with the descriptor's events. The kernel drops a closed descriptor by itself.
  Result<> add(const UniqueFd& fd, std::uint64_t token);
  Result<> change(const UniqueFd& fd, std::uint64_t token, Interest interest);
  // At most 256 events; none after `timeout` or wake().
  Result<std::vector<Event>> wait(std::chrono::milliseconds timeout);
  // Ends the current or the next wait(). May be called from any thread.
  void wake() const;

 private:
  Poller(UniqueFd epoll, UniqueFd waker) : epoll_(std::move(epoll)), waker_(std::move(waker)) {}
  UniqueFd epoll_;
  UniqueFd waker_;
};

}  // namespace sluice::sys
