// From the thread that receives to the one that asks: one producer, one consumer, no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

#include "bind.hpp"

namespace forebay {

// Finished frames on their way from the receiver's thread to Python: one producer, one consumer.
class FrameQueue {
public:
    explicit FrameQueue(std::size_t capacity) : frames_(capacity) {}
    std::size_t room() const { return frames_.size() - (head_.load() - tail_.load()); }
    void push(const FrameRecord& frame) {
        const std::size_t head = head_.load(std::memory_order_relaxed);
        frames_[head % frames_.size()] = frame;
        head_.store(head + 1, std::memory_order_release);
    }
    std::size_t waiting() const { return head_.load(std::memory_order_acquire) - tail_.load(); }
    void pop(FrameRecord* out, std::size_t n) {
        std::size_t tail = tail_.load(std::memory_order_relaxed);
        for (std::size_t i = 0; i < n; ++i) out[i] = frames_[tail++ % frames_.size()];
        tail_.store(tail, std::memory_order_release);
    }

private:
    std::vector<FrameRecord> frames_;
    alignas(64) std::atomic<std::size_t> head_{0};
    alignas(64) std::atomic<std::size_t> tail_{0};
};

}  // namespace forebay
